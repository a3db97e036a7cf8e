"""The object graph of `slipway serve`, from options to listeners, and its life: load, listen, wait, drain.

The only module that knows every package. Decides nothing about requests; tells an operator what was loaded and how.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Protocol

from slipway import __version__
from slipway.config.options import ServerOptions
from slipway.core.table import render_table
from slipway.engine.dataplane import Engine
from slipway.engine.failures import LoadFailure
from slipway.engine.heap import settle_heap
from slipway.errors import SlipwayError, internal
from slipway.instances.plan import cpu_limit, describe_plan, instance_specs, threads_per_instance
from slipway.rest.app import build_app
from slipway.rest.connection import Limits
from slipway.rest.context import RestOptions
from slipway.rest.listener import HttpListener
from slipway.rest.metrics import MetricsOptions, build_metrics_app
from slipway.rpc.listener import GrpcListener
from slipway.rpc.options import GrpcOptions

_log = logging.getLogger("slipway.server")
_TABLE: Final = {"table": True}  # cli/log_format.py prints such a record as it stands


class Listener(Protocol):
    """A front that is bound to a port."""

    async def start(self) -> int:
        """Bind and serve; return the port. Raise `SlipwayError` when that is not possible."""

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, answer the accepted ones for up to `grace_s` seconds, close the port."""


async def run(options: ServerOptions) -> int:
    """Load the models, answer requests until SIGTERM or SIGINT, drain. Return 0, or 1 when the start failed."""
    stopping = _stop_event()
    engine = Engine(options, version=__version__)
    listeners: list[Listener] = []
    code = 0
    try:
        failed = await _unless(stopping, engine.start())
        if failed is not None:
            _report(engine, failed)
            if failed and options.exit_on_error:
                raise internal("failed to load all models")
            await _listen(engine, options, listeners)
            settle_heap()
            await stopping.wait()
    except SlipwayError as error:
        _say(f"error: creating server: {error.code.value} - {error.message}")
        code = 1
    await _drain(engine, listeners, options.exit_timeout_secs)
    return code


def _say(line: str) -> None:
    """Write to standard error whatever the log settings are."""
    sys.stderr.write(line + "\n")


def _stop_event() -> asyncio.Event:
    """Return the event that the first signal sets; later signals change nothing."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


async def _unless(
    stopping: asyncio.Event, work: Coroutine[Any, Any, dict[str, LoadFailure]]
) -> dict[str, LoadFailure] | None:
    """Return the result of `work`, or None when a signal came first."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait((working,))
    return None


# What an operator sees


def _report(engine: Engine, failed: Mapping[str, LoadFailure]) -> None:
    """Log the state of every model, and what those that serve run on."""
    _log.info("%s", render_table(("Model", "Version", "Status"), list(_states(engine, failed))), extra=_TABLE)
    plan = list(_plan(engine))
    if plan:
        _log.info("%s", render_table(("Model", "Version", "Backend", "Instances"), plan), extra=_TABLE)


def _states(engine: Engine, failed: Mapping[str, LoadFailure]) -> Iterator[tuple[str, str, str]]:
    entries = [entry for entry in engine.repository_index(ready_only=False) if entry.state]
    for entry in entries:
        yield entry.name, entry.version, f"{entry.state}: {entry.reason}" if entry.reason else entry.state
    for name in sorted(failed.keys() - {entry.name for entry in entries}):
        yield name, "-", f"UNAVAILABLE: {failed[name].detail}"


def _plan(engine: Engine) -> Iterator[tuple[str, str, str, str]]:
    cpus = cpu_limit()
    for entry in engine.repository_index(ready_only=True):
        config = engine.model_config(entry.name, entry.version)
        instances = "-"
        if config.platform != "ensemble":
            instances = describe_plan(instance_specs(config, warn=False), threads_per_instance(config, cpus))
        yield entry.name, entry.version, config.backend or config.platform, instances


# Fronts


async def _listen(engine: Engine, options: ServerOptions, listeners: list[Listener]) -> None:
    """Start every front that is asked for; `listeners` gets those that run, for the caller to stop."""
    if options.allow_grpc:
        shared = {each.name: getattr(options, each.name) for each in fields(GrpcOptions)}
        grpc = GrpcListener(engine, GrpcOptions(**shared))
        await grpc.start()
        listeners.append(grpc)
    if options.allow_http:
        limits = Limits(body=options.http_max_input_size)
        http = HttpListener(
            build_app(engine, RestOptions(max_input_size=options.http_max_input_size)),
            host=options.http_address,
            port=options.http_port,
            limits=limits,
            reuse_port=options.reuse_http_port,
        )
        port = await http.start()
        listeners.append(http)
        _log.info("Started HTTPService at %s:%d", options.http_address, port)
    if options.allow_metrics:
        host = options.metrics_address or options.http_address
        settings = MetricsOptions(**options.metrics_config, cpu=options.allow_cpu_metrics)
        metrics = HttpListener(build_metrics_app(engine, settings), host=host, port=options.metrics_port)
        port = await metrics.start()
        listeners.append(metrics)
        _log.info("Started Metrics Service at %s:%d", host, port)


async def _drain(engine: Engine, listeners: Sequence[Listener], seconds: float) -> None:
    """Answer what was accepted, within `seconds`, then release everything."""
    if listeners:
        _log.info("Waiting for in-flight requests to complete.")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    await asyncio.gather(*(listener.stop(seconds) for listener in listeners))
    await engine.shutdown(max(0.0, deadline - loop.time()))
