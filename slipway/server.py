"""The object graph of `slipway serve`, from options to listeners, and its life: load, listen, wait, drain.

The only module that knows every package. Decides nothing about requests; reports what was loaded and how.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NoReturn, Protocol

from slipway import __version__, supervisor
from slipway.api_keys import ApiKeys
from slipway.backends.api import NO_BACKENDS, Backend
from slipway.chat.renderer import begin_rendering, end_rendering
from slipway.config.exposure import METRICS
from slipway.config.host_policy import HostPolicy
from slipway.config.options import ServerOptions, fronts
from slipway.core.budget import Budget, default_budget
from slipway.core.large_work import begin_large_work, end_large_work
from slipway.core.log_settings import LogSettings
from slipway.core.model_id import ModelId
from slipway.core.table import render_table
from slipway.cores import cpu_limit
from slipway.engine.dataplane import Engine
from slipway.engine.failures import LoadFailure
from slipway.engine.heap import settle_heap
from slipway.errors import Code, SlipwayError, internal, invalid
from slipway.instances.plan import describe_plan, instance_specs, shared_cpus, threads_per_instance
from slipway.machine import resident_memory, return_free_memory
from slipway.proxy.beside import proxy_flags
from slipway.proxy.process import ProxyProcess
from slipway.rest.fronts import rest_fronts
from slipway.rest.listener import check_port
from slipway.rpc.listener import GrpcListener
from slipway.rpc.options import GrpcOptions
from slipway.stopping import Stopping

_LOG: Final = logging.getLogger("slipway.server")
_RETURN_S: Final = 5.0  # between two looks at the memory
_GROWN: Final = 1 << 20  # bytes: less is not worth returning
_RELEASE_S: Final = 1.0  # the least time to release models, even if requests took all of it
GRPC_SERVICE: Final = "GRPCInferenceService"  # its name in the log
PROXY: Final = "Proxy"  # as well
_TABLE: Final = {"table": True}  # cli/log_format.py prints these records verbatim


class Front(Protocol):
    """A front that listens on a port."""

    async def start(self) -> int:
        """Bind and serve; return the port. Raise `SlipwayError` if that fails."""

    async def stop(self, grace_s: float) -> int:
        """Refuse new requests, answer the accepted ones for up to `grace_s` seconds, close the port. Return the number
        of requests that were not answered."""

    @property
    def open_requests(self) -> int:
        """The number of accepted requests that are not answered yet."""


class ModelLoadError(SlipwayError):
    """Models failed to load at start-up, and the server has to exit then; `failed` says why, by model."""

    def __init__(self, failed: Mapping[ModelId, LoadFailure]) -> None:
        super().__init__(Code.INTERNAL, "failed to load all models")
        self.failed = failed


class Ending(Protocol):
    """How a server is asked to end, and what happens if it cannot end in time."""

    requested: asyncio.Event
    last_words: str  # for standard error, should `end_now` end the process

    def end_now(self, reason: str, lost: int | None = None) -> NoReturn:
        """End although requests may be lost (None: count them now)."""


@dataclass(frozen=True, slots=True)
class Started:
    """A server that answers requests: its engine, and the port of each front by its name in the log."""

    engine: Engine
    ports: Mapping[str, int]


class Companion(Protocol):
    """What a command adds to a server that is up."""

    def begin(self, started: Started) -> None:
        """Take up work: every model and front is up."""

    async def end(self) -> None:
        """Stop the work: the server ends."""


async def run(options: ServerOptions, log_settings: LogSettings, companion: Companion | None = None) -> int:
    """Load the models, answer requests until SIGTERM, SIGINT or SIGHUP, drain. Return 0, or 1 if start-up failed.

    The process exits with code 1 if the drain takes longer than `exit_timeout_secs`, or on a second signal.
    """
    listeners: list[Front] = []
    seconds = options.drain_delay_secs + options.exit_timeout_secs
    stopping = Stopping(seconds, lambda: sum(listener.open_requests for listener in listeners))
    stopping.install()

    def started(server: Started) -> None:
        if companion is not None:
            companion.begin(server)
        supervisor.report(supervisor.READY)

    async def ending() -> None:
        supervisor.report(supervisor.STOPPING)
        if companion is not None:
            await companion.end()

    try:
        await serve(options, log_settings, listeners, stopping, started=started, ending=ending)
    except SlipwayError as error:
        sys.stderr.write(_refusal(error))
        return 1
    return 0


async def serve(
    options: ServerOptions,
    log_settings: LogSettings,
    listeners: list[Front],
    stopping: Ending,
    *,
    backends: Mapping[str, Backend] = NO_BACKENDS,
    started: Callable[[Started], None] | None = None,
    ending: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Load the models, call `started`, answer requests until `stopping` is requested, await `ending`, drain.

    `listeners` gets the fronts that run; `backends` are found before those of the registry. Raise `SlipwayError` if
    start-up failed; everything is released by then.
    """
    failure = None
    proxies: list[ProxyProcess] = []
    engine = Engine(options, version=__version__, log_settings=log_settings, backends=backends)
    begin_large_work()
    begin_rendering()
    try:
        missing = engine.missing_repositories()
        if missing and options.exit_on_error:
            raise internal(f"failed to stat file {missing[0]}")
        check_ports(options)
        engine.regions.check_system()
        failed = await _unless(stopping.requested, engine.start())
        if failed is not None:
            if not missing:
                _report(engine, failed, options.host_policy)
            if failed and options.exit_on_error:
                raise ModelLoadError(failed)
            ports: dict[str, int] = {}
            budget = await _listen(engine, options, listeners, proxies, ports)
            settle_heap()
            returning = asyncio.ensure_future(_return_memory(budget))
            if started is not None:
                started(Started(engine, ports))
            await stopping.requested.wait()
            returning.cancel()
            if ending is not None:
                await ending()
            await _announce(engine, options.drain_delay_secs)
    except SlipwayError as error:
        failure = error
        stopping.last_words = _refusal(error)
    await _drain(engine, listeners, proxies, options.exit_timeout_secs, stopping)
    if failure is not None:
        raise failure


def _refusal(error: SlipwayError) -> str:
    return f"error: creating server: {error.code.value} - {error.message}\n"


def check_ports(options: ServerOptions) -> None:
    """Raise UNAVAILABLE for a port that somebody else has: better now than after minutes of loading."""
    shared = {"HTTP": options.reuse_http_port, "GRPC": options.reuse_grpc_port}
    for front in fronts(options):
        if not front.port:
            continue
        try:
            check_port(front.address, front.port, shared=shared.get(front.name, False))
        except SlipwayError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                # Triton's text, which tools look for in the log
                _LOG.error(
                    "failed to start %s service: Unavailable - Socket '%s:%d' already in use ",
                    "Metrics" if front.name == METRICS else front.name,
                    front.address,
                    front.port,
                )
            raise


async def _unless(
    stopping: asyncio.Event, work: Coroutine[Any, Any, dict[ModelId, LoadFailure]]
) -> dict[ModelId, LoadFailure] | None:
    """Return the result of `work`, or None if a signal came first."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait((working,))
    return None


# What the operator sees


def _report(engine: Engine, failed: Mapping[ModelId, LoadFailure], policies: Mapping[str, HostPolicy]) -> None:
    """Log the state of every model, and the backend and instances of those that are ready."""
    _LOG.info("%s", render_table(("Model", "Version", "Status"), list(_states(engine, failed))), extra=_TABLE)
    plan = list(_plan(engine, policies))
    if plan:
        _LOG.info("%s", render_table(("Model", "Version", "Backend", "Instances"), plan), extra=_TABLE)


def _states(engine: Engine, failed: Mapping[ModelId, LoadFailure]) -> Iterator[tuple[str, str, str]]:
    listed = set()
    for entry in engine.repository_index(ready_only=False):
        if entry.state:
            model = ModelId(entry.namespace, entry.name)
            listed.add(model)
            yield str(model), entry.version, f"{entry.state}: {entry.reason}" if entry.reason else entry.state
    for model in sorted(failed.keys() - listed):
        yield str(model), "-", f"UNAVAILABLE: {failed[model].detail}"


def _plan(engine: Engine, policies: Mapping[str, HostPolicy]) -> Iterator[tuple[str, str, str, str]]:
    cpus = cpu_limit()
    for model in engine.loaded():
        config = model.config
        instances = "-"
        if config.platform != "ensemble":
            specs = instance_specs(config, warn=False, policies=policies)
            available = min(cpus, len(shared_cpus(specs)) or cpus)
            instances = describe_plan(specs, threads_per_instance(config, available))
        yield str(model.id), str(model.version), config.backend or config.platform, instances


# Fronts


async def _listen(
    engine: Engine,
    options: ServerOptions,
    listeners: list[Front],
    proxies: list[ProxyProcess],
    ports: dict[str, int],
) -> Budget:
    """Start every enabled front, and once it runs append it to `listeners` or `proxies`, for the caller to stop, and
    their ports to `ports`. Return the budget of their requests."""
    budget = Budget(options.max_buffered_bytes)
    engine.regions.budget = budget
    keys = _api_keys(options)
    if options.allow_grpc:
        grpc_settings = GrpcOptions(**{each.name: getattr(options, each.name) for each in fields(GrpcOptions)})
        grpc = GrpcListener(engine, grpc_settings, budget, keys)
        # Logs its address itself, with the library that it chose.
        grpc_port = ports[GRPC_SERVICE] = await grpc.start()
        listeners.append(grpc)
        if options.proxy:
            proxy = ProxyProcess(options.proxy_address, options.proxy_port, proxy_flags(options, grpc_port))
            bound = await proxy.start()
            proxies.append(proxy)
            ports[PROXY] = bound
            _LOG.info("Started Proxy at %s:%d", options.proxy_address, bound)
    for front in rest_fronts(engine, engine.outside, options, budget, keys, grpc_port=ports.get(GRPC_SERVICE)):
        bound = ports[front.name] = await front.listener.start()
        listeners.append(front.listener)
        _LOG.info("Started %s at %s:%d", front.name, front.address, bound)
    budget.limit = budget.limit or default_budget()  # only now: what the fronts take themselves is not free any more
    return budget


def _api_keys(options: ServerOptions) -> ApiKeys | None:
    """Return the keys that requests need, None if they need none; raise INVALID_ARG if their file cannot be used."""
    try:
        return options.api_keys()
    except ValueError as error:  # it was replaced while the models were loaded
        raise invalid(f"--api-key-file: {error}") from None


async def _return_memory(budget: Budget) -> None:
    """Whenever large requests have been answered, give the memory that they took back to the system."""
    kept = 0
    while (memory := resident_memory()) is not None:
        if memory > kept + _GROWN and not budget.held:
            await asyncio.to_thread(return_free_memory)
            kept = resident_memory() or memory
        await asyncio.sleep(_RETURN_S)


async def _announce(engine: Engine, seconds: float) -> None:
    """Answer requests for `seconds` more, but no longer as ready: load balancers send new ones elsewhere by then."""
    engine.retreat()
    if seconds > 0:
        _LOG.info("Not ready from now on; requests are accepted for %g more seconds.", seconds)
        await asyncio.sleep(seconds)


async def _drain(
    engine: Engine,
    listeners: Sequence[Front],
    proxies: Sequence[ProxyProcess],
    seconds: float,
    stopping: Ending,
) -> None:
    """Answer the accepted requests within `seconds`, then release everything. Does not return if that takes longer."""
    if listeners:
        _LOG.info("Waiting for in-flight requests to complete.")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    for proxy in proxies:  # first: what it accepted, it still has to send to the others
        await proxy.stop(seconds)
    left = max(0.0, deadline - loop.time()) if proxies else seconds
    lost = sum(await asyncio.gather(*(listener.stop(left) for listener in listeners)))
    if not await engine.shutdown(max(_RELEASE_S, deadline - loop.time())) or not await _threads_ended(deadline):
        stopping.end_now(f"models are still busy after {seconds:g} s", lost)
    if lost:
        stopping.end_now(f"the exit timeout of {seconds:g} s is over", lost)


async def _threads_ended(deadline: float) -> bool:
    """Return whether the event loop's helper threads ended by `deadline`. Python waits for them when it exits."""
    loop = asyncio.get_running_loop()
    ending = loop.create_task(_end_threads())
    # Never cancelled: it would then block the loop until the threads end.
    done, _ = await asyncio.wait((ending,), timeout=max(_RELEASE_S, deadline - loop.time()))
    return bool(done)


async def _end_threads() -> None:
    await asyncio.to_thread(end_rendering)
    await asyncio.to_thread(end_large_work)
    await asyncio.get_running_loop().shutdown_default_executor()
