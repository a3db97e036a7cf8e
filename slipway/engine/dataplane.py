"""The one service object behind both transports: finds the model, checks the request, passes it to the scheduler.

Everything here runs on the event loop and, except for loads, returns at once. Does not know the transports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final, TypeVar

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import NO_BACKENDS, Backend
from slipway.config.cache_settings import RedisCacheSettings, cache_settings
from slipway.config.options import ServerOptions
from slipway.core.check import check_form, check_request
from slipway.core.log_settings import LogSettings
from slipway.core.metrics import MetricRegistry
from slipway.core.model_id import ModelId
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.trace import ReferredTrace
from slipway.core.version import parse_version
from slipway.engine import failures, views
from slipway.engine.api import IndexEntry, ModelMetadata, ServerMetadata, VersionStatistics
from slipway.engine.caching import Caching
from slipway.engine.extensions import announced
from slipway.engine.failures import LoadFailure
from slipway.engine.host import EngineHost
from slipway.engine.inside import Inside
from slipway.engine.lifecycle import Lifecycle
from slipway.engine.loading import Loader
from slipway.engine.model import ModelVersion
from slipway.engine.modes import Control, require_explicit
from slipway.engine.names import NamespacedNames, PlainNames
from slipway.engine.outside import OutsideModels
from slipway.engine.placed import PlacedRequests
from slipway.engine.request_log import log_refusal
from slipway.engine.serving import Scope, ServingTable, View
from slipway.engine.source import LoadRequest
from slipway.engine.states import StateTable
from slipway.engine.watching import watched
from slipway.errors import FailureReason, SlipwayError, internal, invalid, shown, unavailable, unsupported
from slipway.regions.registry import Regions
from slipway.regions.request import PlacedRequest
from slipway.repository.names import check_model_name
from slipway.repository.repositories import Repositories
from slipway.response_cache.api import CacheReport
from slipway.response_cache.factory import build_cache
from slipway.tracing.settings import Given
from slipway.tracing.tracing import Tracing

_LOG: Final = logging.getLogger("slipway.engine")
Result = TypeVar("Result")


class Engine:
    """Implements `engine.api.Dataplane`. Construct it, then `await start()` on the event loop that will call it."""

    def __init__(
        self,
        options: ServerOptions,
        *,
        version: str,
        log_settings: LogSettings | None = None,
        backends: Mapping[str, Backend] = NO_BACKENDS,
    ) -> None:
        self.metrics = MetricRegistry()
        self.regions = Regions(allowed=options.allow_client_shm)
        self.tracing = Tracing(options.tracing, self.metrics)
        self.log_settings = log_settings or LogSettings()
        self._options = options
        self._metadata = ServerMetadata(options.id, version, announced(options))
        self._states = StateTable()
        self._serving = ServingTable(self._states, NamespacedNames() if options.model_namespacing else PlainNames())
        self._public = self._serving.public
        self._caching = _caching(options, self._serving)
        explicit = options.model_control_mode == "explicit"
        self._repositories = Repositories(
            options.model_repository,
            options.remote_repositories,
            fresh=explicit,
            namespaced=options.model_namespacing,
        )
        self._loader = Loader(
            options,
            self.inside,
            partial(EngineHost, metrics=self.metrics),
            caching=self._caching,
            repositories=self._repositories,
            backends=backends,
        )
        self._lifecycle = Lifecycle(self._loader, self._serving, self._states)
        self._control = Control(options, self._lifecycle, self._states, self._repositories)
        self._placed = PlacedRequests(self.regions)
        self.outside = OutsideModels(options, self._lifecycle, self._serving, self._states)
        self._operations: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._started = False
        self._retreating = False

    def missing_repositories(self) -> list[Path]:
        """Return the model repositories that do not exist."""
        return [path for path in self._options.model_repository if not path.is_dir()]

    async def start(self) -> dict[ModelId, LoadFailure]:
        """Load the models that the control mode selects; return why some failed, by model.

        If a repository is missing, it only answers requests for its metadata, and is neither live nor ready.
        """
        self._loop = asyncio.get_running_loop()
        missing = self.missing_repositories()
        if missing:
            _LOG.error("failed to stat file %s; no model will be served until the server is started again", missing[0])
            self._serving.unusable = True
            self._started = True
            return {}
        await asyncio.to_thread(self._repositories.open)
        failed = await self._control.start()
        self._started = True
        return failed

    def retreat(self) -> None:
        """Report not ready from now on, but go on serving."""
        self._retreating = True

    async def shutdown(self, timeout: float) -> bool:  # noqa: ASYNC109  a bounded drain, not a cancelled one
        """Refuse new requests, finish the accepted ones and release the models; return whether this took less than
        `timeout` seconds."""
        self._serving.close()
        self._repositories.cancel()
        try:
            async with asyncio.timeout(timeout):
                await self._control.stop()
                await self._lifecycle.shutdown()
                if self._caching is not None:
                    await self._caching.cache.close()
                await self.tracing.close()
                self._loader.threads.shutdown(wait=False, cancel_futures=True)
                await asyncio.to_thread(self._loader.threads.shutdown)  # a load may hang in one of them
                await asyncio.to_thread(self._repositories.close)
        except TimeoutError:
            return False
        finally:
            self._loader.threads.shutdown(wait=False, cancel_futures=True)
        return True

    # Inference

    def submit(self, request: InferRequest, deliver: Deliver) -> Pending:
        """Accept a client's request."""
        if type(request) is PlacedRequest:  # a third of what `isinstance` takes
            model = self._serving.find(request.model_name, request.model_version)
            return self._placed.submit(model, request, deliver, self.log_settings.verbose)
        return self._submit(self._public, request, deliver)

    def inside(self, namespace: str) -> Inside:
        """Return what the ensembles and models of a namespace see of the server."""
        return Inside(self, self._serving.scope(namespace))

    def submit_inside(self, scope: Scope, request: InferRequest, deliver: Deliver) -> Pending:
        """Accept a request from an ensemble or a model's business logic, in whose scope the name has its meaning."""
        if isinstance(request.trace, ReferredTrace):
            request.trace = self.tracing.child_of(request.trace.to.number)
        return self._submit(scope.models, request, deliver, scope)

    def _submit(self, view: View, request: InferRequest, deliver: Deliver, scope: Scope | None = None) -> Pending:
        try:
            model = view[request.model_name][request.model_version]
        except KeyError:
            model = self._serving.find(request.model_name, request.model_version, scope)
        arrival = monotonic_ns()
        verbose = self.log_settings.verbose
        try:
            if request.form is None:
                rows = check_request(request, model.signature)
            else:
                rows = check_form(request, request.form, model.signature)
        except SlipwayError as error:
            model.statistics.record_failure(monotonic_ns() - arrival, error.reason)
            if verbose:
                log_refusal(request, error)
            raise
        if request.trace is None and request.explanation is None and not verbose:
            pending = Pending(request, rows, arrival, self._loop, deliver, not model.signature.decoupled)
            model.scheduler.submit(pending)
            return pending
        followed = watched(request, model, rows, arrival, self._loop, deliver, verbose)
        try:
            model.scheduler.submit(followed)
        except SlipwayError as error:
            followed.refused(error)
            raise
        return followed

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the one response to a request; cancelling the task cancels it."""
        if self.signature(request.model_name, request.model_version).decoupled:
            raise unsupported(
                f"model '{request.model_name}' is decoupled and may send any number of responses: use streaming"
            )
        answer: asyncio.Future[InferResponse] = self._loop.create_future()
        pending = self._submit(self._public, request, partial(_settle, answer))
        try:
            response = await answer
        except asyncio.CancelledError:
            pending.cancel()
            raise
        if response.empty:
            raise internal(f"model '{request.model_name}' closed the request without a response")
        if response.error is not None:
            raise response.error
        return response

    def record_rejected(self, name: str, version: str) -> None:
        """Count a request that a front could not decode."""
        model = self._public.get(name, {}).get(version)
        if model is not None:
            model.statistics.record_failure(0, FailureReason.OTHER)

    # Metadata and state

    def live(self) -> bool:
        """Return whether the server is live."""
        return self._started and not self._serving.unusable

    def stopping(self) -> bool:
        """Return whether the server is about to stop."""
        return self._retreating or self._serving.closed

    def ready(self) -> bool:
        """Return whether the server accepts requests and, with strict readiness, every wanted model is ready."""
        if not self.live() or self.stopping():
            return False
        return not self._options.strict_readiness or (self._control.is_complete and self._states.all_ready())

    def server_metadata(self) -> ServerMetadata:
        """Return the server's name, version and extensions."""
        return self._metadata

    async def model_ready(self, name: str, version: str) -> bool:
        """Return whether a version serves and each of its instances reports ready."""
        return await self._is_ready(name, version)

    async def model_ready_inside(self, scope: Scope, name: str, version: str) -> bool:
        """Return the same about the version that ensembles and models of a scope call."""
        return await self._is_ready(name, version, scope)

    async def _is_ready(self, name: str, version: str, scope: Scope | None = None) -> bool:
        self._serving.require_usable()
        if version:
            parse_version(version)
        try:
            model = self._serving.find(name, version, scope)
            if not self._serving.serves(model):
                return False
            for instance in model.instances:
                await instance.check_ready()
        except SlipwayError as error:
            _LOG.debug("'%s' is not ready: %s", name, error.message)
            return False
        return True

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        """Return a model's metadata."""
        model = self._serving.find(name, version)
        numbers = [model.version] if version else [each.version for each in self._serving.versions(model.id)]
        return views.metadata(model, numbers)

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        """Return a model's configuration."""
        return self._serving.find(name, version).config

    def model_files(self, name: str, version: str) -> Path:
        """Return the directory of a version's files."""
        directory = self._serving.find(name, version).directory
        if directory is None:
            raise unavailable(f"model '{shown(name)}' has no files")
        return directory

    def signature(self, name: str, version: str) -> ModelSignature:
        """Return a version's inputs and outputs."""
        return self._serving.find(name, version).signature

    def signature_inside(self, scope: Scope, name: str, version: str) -> ModelSignature:
        """Return a version's inputs and outputs, for ensembles and models."""
        return self._serving.find(name, version, scope).signature

    def model_inside(self, scope: Scope, name: str) -> ModelId | None:
        """Return the model that a name means to the ensembles and models of a scope."""
        return self._serving.names.inside(scope.namespace, name)

    def model_statistics(self, name: str, version: str) -> Sequence[VersionStatistics]:
        """Return the counters of a version, of all versions of a model, or of all models."""
        self._serving.require_usable()
        if not name:
            return [views.statistics(model) for model in self._serving.all()]
        meant = self._serving.names.meant(name)
        models = self._serving.versions(next(iter(meant))) if len(meant) == 1 else []
        if not models:
            raise invalid(f"requested model '{shown(name)}' is not available")
        if not version:
            return [views.statistics(model) for model in models]
        number = parse_version(version)
        found = [views.statistics(model) for model in models if model.version == number]
        if not found:
            raise invalid(f"requested model version is not available for model '{shown(name)}'")
        return found

    def trace_settings(self, name: str, given: Given | None = None) -> Mapping[str, Sequence[str]]:
        """Change the trace setting of a model, or the global one (""), unless nothing is given; return it."""
        if name and self._serving.public.get(name) is None:
            raise invalid(f"Request for unknown model : {shown(name)}")
        if given is not None:
            self.tracing.update(name, given)
        return self.tracing.settings(name)

    def cache_report(self) -> CacheReport | None:
        """Return the state of the response cache, if there is one."""
        return None if self._caching is None else self._caching.cache.report()

    def loaded(self) -> Sequence[ModelVersion]:
        """Return every version that serves."""
        return self._serving.all()

    def repository_index(self, ready_only: bool) -> Sequence[IndexEntry]:
        """Return every model in the repositories, with its state."""
        self._serving.require_usable()
        scan = self._repositories.known()
        return views.index(self._states, scan.models, scan.duplicates, ready_only=ready_only)

    # Model control

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load or reload a model for a client."""
        self._serving.require_usable()
        require_explicit(self._options)
        if files and not self._options.allow_model_upload:
            _LOG.error("failed to poll model '%s': %s", shown(name), failures.UPLOAD.detail)
            raise failures.UPLOAD.error(name)
        await self.load_model_inside(name, config, files)

    async def load_model_inside(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load or reload a model for another model, which may send files: it could also write them itself."""
        require_explicit(self._options)
        check_model_name(name)
        await self._load_named(name, LoadRequest(config, files))

    async def load_bound(self, name: str) -> None:
        """Load or reload a model that the program around the server has put into a repository, in any control mode."""
        await self._load_named(name, LoadRequest())

    async def _load_named(self, name: str, request: LoadRequest) -> None:
        failed = await self._operate(self._lifecycle.load_named({name: request}))
        refused = [failed[model] for model in sorted(failed) if model.name == name]
        if refused:
            raise failures.load_error(name, refused)

    async def refresh(self, names: Sequence[str]) -> Mapping[ModelId, LoadFailure]:
        """Load those of the models that serve again, from their files as they are now, in any control mode; return why
        some failed. A version serves until its successor is ready."""
        served = dict.fromkeys(version.id for version in self._serving.all() if version.id.name in names)
        return await self._operate(self._control.load_again(served))

    async def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Start unloading a model."""
        self._serving.require_usable()
        require_explicit(self._options)
        models = self._serving.names.meant(name)
        await self._operate(self._lifecycle.unload(models, unload_dependents=unload_dependents))

    async def _operate(self, operation: Coroutine[Any, Any, Result]) -> Result:
        """Run an operation to completion, even if its client disconnects."""
        if self._serving.closed:
            operation.close()
            raise unavailable("Server is stopping, models can no longer be loaded or unloaded")
        task = self._loop.create_task(operation)
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)
        return await asyncio.shield(task)


def _caching(options: ServerOptions, serving: ServingTable) -> Caching | None:
    settings = cache_settings(options.cache_config, options.response_cache_byte_size)
    if settings is None:
        return None
    return Caching(build_cache(settings), serving, shared=isinstance(settings, RedisCacheSettings))


def _settle(answer: asyncio.Future[InferResponse], response: InferResponse) -> None:
    if not answer.done():  # the awaiting task may have been cancelled
        answer.set_result(response)
