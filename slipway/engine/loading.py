"""Turns a model's source into a version that can serve: complete, check, load, open instances, warm up.

Blocking work runs in the load threads; instances and schedulers are created on the event loop. If a step fails,
everything opened before it is closed again. Does not know model states or earlier versions.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.affinity import running_on
from slipway.backends.api import (
    NO_BACKENDS,
    Backend,
    CompletionContext,
    Host,
    InstanceSpec,
    LoadedModel,
    ModelContext,
)
from slipway.backends.instance_api import Instance
from slipway.backends.registry import find_backend
from slipway.config.host_policy import not_defined, unknown_policies
from slipway.config.model_metrics import bucket_overrides
from slipway.config.normalise import normalise
from slipway.config.options import ServerOptions
from slipway.config.rate_limit import EXECUTION_COUNT, NOT_LIMITED, is_limited
from slipway.config.sequences import SequencePlan, execution_signature, first_inputs, sequence_plan
from slipway.config.signature import build_signature
from slipway.config.validate import cache_problems, validate
from slipway.core.model_id import ModelId
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.cores import cpu_limit
from slipway.engine.caching import Caching
from slipway.engine.counting import summarise_of
from slipway.engine.dependencies import is_ensemble
from slipway.engine.failures import LoadFailure
from slipway.engine.inside import Inside
from slipway.engine.model import ModelVersion, release
from slipway.engine.source import LoadRequest, ModelSource, PollError, read_source
from slipway.engine.succession import keeps_loaded, kept_instances
from slipway.engine.warmup import warm_up
from slipway.errors import SlipwayError, internal, refused, shown
from slipway.instances.factory import open_instances
from slipway.instances.plan import describe_plan, instance_specs, shared_cpus, threads_per_instance
from slipway.lint.loaded import log_findings
from slipway.repository.repositories import Repositories
from slipway.scheduling.api import Scheduler
from slipway.scheduling.cached import uncached
from slipway.scheduling.ensemble import EnsembleScheduler
from slipway.scheduling.factory import build_scheduler
from slipway.scheduling.limited import Admission, RateLimits
from slipway.scheduling.sequence_factory import build_sequence_scheduler

_LOG: Final = logging.getLogger("slipway.engine")


@dataclass(frozen=True, slots=True)
class _Opened:
    """The result of a load's blocking half; an ensemble has neither a context nor a loaded model."""

    config: model_config_pb2.ModelConfig
    signature: ModelSignature
    context: ModelContext | None = None
    loaded: LoadedModel | None = None
    plan: SequencePlan | None = None
    specs: Sequence[InstanceSpec] = ()
    former: ModelVersion | None = None  # whose loaded model is kept


class Loader:
    """Loads versions. `inside` returns what the ensembles and models of a namespace see of the server, and `host` the
    same for models, which call it from their threads. The `backends` of the program around the server are found before
    those of the registry."""

    def __init__(
        self,
        options: ServerOptions,
        inside: Callable[[str], Inside],
        host: Callable[[Inside], Host],
        *,
        caching: Caching | None = None,
        repositories: Repositories,
        backends: Mapping[str, Backend] = NO_BACKENDS,
    ) -> None:
        self.threads = ThreadPoolExecutor(options.model_load_thread_count, thread_name_prefix="load")
        self._options = options
        self._inside = inside
        self._host = host
        limited = options.rate_limit == EXECUTION_COUNT
        self._limits = RateLimits(options.rate_limit_resource) if limited else None
        self._caching = caching
        self._repositories = repositories
        self._backends = backends
        self._summarise = summarise_of(options)

    async def named(self, name: str) -> list[ModelId]:
        """Return the models of a name in the repositories, see `Repositories.named`."""
        if not self._options.model_namespacing:
            return self._repositories.named(name)
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._repositories.named, name)

    async def read(self, model: ModelId, request: LoadRequest) -> ModelSource | LoadFailure:
        """Return the model as it is on disk, or as the request overrides it."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self.threads, read_source, model, request, self._options, self._repositories
            )
        except PollError as error:
            return error.failure
        except Exception as error:  # noqa: BLE001  as below: it must fail this model, not the server
            _LOG.exception("reading '%s' failed", shown(str(model)))
            return LoadFailure(f"unexpected {type(error).__name__} while reading", polled=True)

    async def load(self, source: ModelSource, version: int, former: ModelVersion | None = None) -> ModelVersion:
        """Return a version that is ready to serve; raise `SlipwayError` if the last attempt fails.

        `former` serves from the same files: if only the instance groups of its config differ, the new version keeps
        its weights and the instances that both have.
        """
        for attempts_left in range(self._options.model_load_retry_count, -1, -1):
            try:
                return await self._load(source, version, former)
            except SlipwayError as error:
                if attempts_left == 0:
                    raise
                _LOG.warning("retrying to load '%s' version %d after: %s", source.id, version, error.message)
        raise AssertionError("the range above is never empty")

    async def _load(self, source: ModelSource, version: int, former: ModelVersion | None) -> ModelVersion:
        begin = time.monotonic()
        label = f"'{source.id}' version {version}"
        inside = self._inside(source.id.namespace)
        host = self._host(inside)
        try:
            opened = await asyncio.get_running_loop().run_in_executor(
                self.threads, self._open, source, version, former, inside, host
            )
            model = await self._assemble(source, version, opened, inside)
        except SlipwayError:
            raise
        except Exception as error:  # backends map the errors they expect; any other must fail the load, not the server
            _LOG.exception("loading %s failed", label)
            raise internal(f"unexpected {type(error).__name__} while loading") from error
        model.statistics.load_seconds = time.monotonic() - begin
        return model

    def _open(
        self, source: ModelSource, version: int, former: ModelVersion | None, inside: Inside, host: Host
    ) -> _Opened:
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(source.config)
        path = source.versions[version]
        ensemble = is_ensemble(config)
        backend = None if ensemble else self._backend(config.backend)
        if backend is not None and not self._options.disable_auto_complete_config:
            backend.complete(config, self._completion(config.backend, source.directory, path))
        normalise(config)
        problems = validate(config, source.directory)
        if problems:
            raise refused(*problems)
        if ensemble:
            self._derive(config, inside)
            problems = list(cache_problems(config))  # it is decoupled if a step is
            if problems:
                raise refused(*problems)
        signature = build_signature(config, source.directory)
        plan = sequence_plan(config, source.directory)
        if config.response_cache.enable and self._caching is None and version == max(source.versions):
            _LOG.warning("model '%s': response_cache has no effect without --cache-config", source.name)
        if backend is None:
            return _Opened(config, signature)
        if version == max(source.versions):  # once per load, because all versions share the config
            log_findings(config, source.directory)
            if self._limits is None and is_limited(config):
                _LOG.warning("model '%s': %s", source.name, NOT_LIMITED)
            for policy in unknown_policies(config, self._options.host_policy):
                _LOG.warning("model '%s': %s", source.name, not_defined(policy))
        specs = instance_specs(config, policies=self._options.host_policy)
        with running_on(shared_cpus(specs)):
            context = self._context(source, version, config, execution_signature(signature, plan), host)
            # not a sequence's instances: they may keep its state, by slot
            if former is not None and plan is None and keeps_loaded(former, config, specs):
                return _Opened(config, signature, context, former.loaded, plan, specs, former)
            return _Opened(config, signature, context, backend.load(context), plan, specs)

    def _backend(self, name: str) -> Backend:
        return self._backends.get(name) or find_backend(name, self._options.backend_directory)

    def _derive(self, config: model_config_pb2.ModelConfig, inside: Inside) -> None:
        """Set what the models of an ensemble's steps decide, regardless of its config, as in Triton: it is decoupled if
        and only if one of them is, and each step has its model's namespace."""
        steps = config.ensemble_scheduling.step
        config.model_transaction_policy.decoupled = any(
            inside.signature(step.model_name, str(step.model_version) if step.model_version > 0 else "").decoupled
            for step in steps
        )
        if self._options.model_namespacing:
            for step in steps:
                model = inside.model(step.model_name)
                step.model_namespace = "" if model is None else model.namespace

    def _completion(self, backend: str, directory: Path, version_directory: Path) -> CompletionContext:
        settings = self._settings(backend)
        return CompletionContext(
            model_directory=directory,
            version_directory=version_directory,
            default_max_batch_size=int(settings.get("default-max-batch-size", "4")),
            backend_config=settings,
        )

    def _settings(self, backend: str) -> Mapping[str, str]:
        """Return a backend's --backend-config settings; settings without a backend name apply to all."""
        return {**self._options.backend_config.get("", {}), **self._options.backend_config.get(backend, {})}

    def _context(
        self,
        source: ModelSource,
        version: int,
        config: model_config_pb2.ModelConfig,
        signature: ModelSignature,
        host: Host,
    ) -> ModelContext:
        return ModelContext(
            name=source.name,
            version=version,
            model_directory=source.directory,
            version_directory=source.versions[version],
            config=config,
            signature=signature,
            backend_config=self._settings(config.backend),
            threads=threads_per_instance(config, cpu_limit()),
            host=host,
        )

    async def _assemble(self, source: ModelSource, version: int, opened: _Opened, inside: Inside) -> ModelVersion:
        config, signature, former = opened.config, opened.signature, opened.former
        statistics = ModelStatistics(bucket_overrides(config), self._summarise) if former is None else former.statistics
        identity = b""
        cached: Callable[[Scheduler], Scheduler] = uncached
        if self._caching is not None:
            identity = self._caching.identity(source, version, config)
            cached = self._caching.wrapper(source.id, config, signature, statistics, version, identity)
        if opened.context is None or opened.loaded is None:
            ensemble = EnsembleScheduler(
                config, signature, statistics, inside.submit, signature_of=inside.signature, version=str(version)
            )
            return ModelVersion(
                source.id,
                version,
                config=config,
                signature=signature,
                statistics=statistics,
                scheduler=cached(ensemble),
                identity=identity,
                directory=source.versions[version],
            )
        label = f"'{source.id}' version {version}"
        specs, kept = opened.specs, kept_instances(former, opened.specs)
        added: list[Instance] = []
        admission = None
        _LOG.info("%s: %s", label, describe_plan(specs, opened.context.threads))
        if former is not None:
            _LOG.info("%s: keeps the loaded model and %d of its instances", label, len(kept))
        try:
            if self._limits is not None:
                admission = self._limits.admit(config, specs)
            missing = [spec for spec in specs if spec not in kept]
            added = await open_instances(opened.loaded, opened.context, missing)
            await warm_up(config, opened.context.signature, source.directory, added, added=first_inputs(opened.plan))
            by_spec = {**kept, **dict(zip(missing, added, strict=True))}
            instances = [by_spec[spec] for spec in specs]
            return ModelVersion(
                source.id,
                version,
                config=config,
                signature=signature,
                statistics=statistics,
                scheduler=_scheduler(opened, cached, instances, statistics, str(version), admission),
                instances=instances,
                loaded=opened.loaded,
                limited=admission is not None,
                identity=identity,
                specs=specs,
                users=None if former is None else former.users,
                directory=source.versions[version],
            )
        except BaseException:
            if admission is not None:
                admission.end()
            await release(label, added, opened.loaded if former is None else None, self.threads)
            raise


def _scheduler(
    opened: _Opened,
    cached: Callable[[Scheduler], Scheduler],
    instances: Sequence[Instance],
    statistics: ModelStatistics,
    version: str,
    admission: Admission | None,
) -> Scheduler:
    """Return the scheduler that runs the model on its instances."""
    signature = opened.signature
    if opened.plan is not None:
        return build_sequence_scheduler(opened.plan, signature, instances, statistics, version, admission=admission)
    return build_scheduler(opened.config, signature, instances, statistics, version, admission=admission, cached=cached)
