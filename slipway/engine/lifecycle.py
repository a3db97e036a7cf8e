"""Load, reload and unload models; ensembles load after, and unload before, the models they are composed of.

Rules: a version serves until its successor is ready; a failed load does not affect the versions that serve; an
operation waits for other operations on related models; a version that is unloaded finishes the requests it accepted.
Does not know the control modes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.validate_ensemble import validate_ensemble
from slipway.engine import failures
from slipway.engine.claims import Claims
from slipway.engine.dependencies import components, composing_models, dependents, load_waves
from slipway.engine.failures import LoadFailure
from slipway.engine.heap import settle_heap
from slipway.engine.loading import Loader
from slipway.engine.model import ModelVersion
from slipway.engine.preparation import Preparation
from slipway.engine.retirement import Departure, Retirement
from slipway.engine.serving import ServingTable, listed
from slipway.engine.source import LoadRequest, ModelSource
from slipway.engine.states import UNLOADED, State, StateRow, StateTable
from slipway.errors import SlipwayError

_LOG: Final = logging.getLogger("slipway.engine")
_PLAIN = LoadRequest()
_LATEST = -1  # `model_version` of a step that uses the latest version


class _Record:
    """A wanted model, which serves or is an ensemble that waits for its composing models."""

    __slots__ = ("explicit", "parts", "source")

    def __init__(self, source: ModelSource) -> None:
        self.source = source  # of the versions that serve, or of an ensemble's last attempt
        self.parts = composing_models(source.config)
        self.explicit = False  # requested by name, not only as part of an ensemble


class Lifecycle:
    """The only class that changes which versions serve."""

    def __init__(self, loader: Loader, serving: ServingTable, states: StateTable) -> None:
        self._loader = loader
        self._serving = serving
        self._states = states
        self._claims = Claims()
        self._preparation = Preparation(serving, lambda: self._claims.held)
        self._records: dict[str, _Record] = {}
        self._retirement = Retirement(serving, states, loader.threads)

    async def load(self, requests: Mapping[str, LoadRequest]) -> dict[str, LoadFailure]:
        """Load models and the models they are composed of; return why some failed. Unchanged versions are kept."""
        names = frozenset(requests)
        while True:
            claimed = self._with_dependents(names)
            async with self._claims.hold(claimed):
                sources, failed = await self._read(requests)
                names |= sources.keys() | failed.keys()
                if self._with_dependents(names) <= claimed:
                    for name in (name for name, failure in failed.items() if failure.versionless):
                        self._states.expect(name)
                    await self._load_all(sources, failed)
                    for name in requests:
                        if name in self._records:
                            self._records[name].explicit = True
                    settle_heap()
                    return failed
            for source in sources.values():  # more models are needed than were claimed: try again with all of them
                source.discard()

    async def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        """Take a model and the ensembles that need it out of service. With `unload_dependents`, also take its composing
        models, except those that were requested by name or that another ensemble needs. Return once unloading has
        begun."""
        claimed: frozenset[str] = frozenset()
        while True:
            async with self._claims.hold(claimed):
                targets = {name} | self._freed_with(name) if unload_dependents else {name}
                affected = self._with_dependents(targets)
                if affected <= claimed:
                    self._take_down(affected)
                    self._forget(targets)
                    return
            claimed = affected

    async def shutdown(self) -> None:
        """Wait for the running operations, finish the accepted requests and release everything."""
        await self._claims.idle()
        await self._preparation.stop()
        self._take_down(list(self._serving.public))
        await self._retirement.finished()

    def _with_dependents(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(names) | dependents(self._composition(), names)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._records.pop(name, None)
            if not self._states.versions(name):
                self._states.forget(name)
            for version, row in self._states.versions(name):
                if row.state is State.UNAVAILABLE:  # it had failed, and now it is no longer wanted
                    self._states.set(name, version, State.UNAVAILABLE, UNLOADED)

    def _composition(self) -> dict[str, frozenset[str]]:
        return {name: record.parts for name, record in self._records.items() if record.parts}

    def _freed_with(self, name: str) -> set[str]:
        """Return the composing models of an ensemble that nothing else needs."""
        composition = self._composition()
        freed = {part for part in components(composition, [name]) if part in self._records}
        freed = {part for part in freed if not self._records[part].explicit}
        while True:
            needed = {part for part in freed if not dependents(composition, [part]) <= freed | {name}}
            if not needed:
                return freed
            freed -= needed

    # Loading

    async def _read(self, requests: Mapping[str, LoadRequest]) -> tuple[dict[str, ModelSource], dict[str, LoadFailure]]:
        """Return the sources of the requested models and of their composing models that do not serve yet."""
        sources: dict[str, ModelSource] = {}
        failed: dict[str, LoadFailure] = {}
        wanted = set(requests)
        while wanted:
            names = sorted(wanted)
            results = await asyncio.gather(*(self._loader.read(name, requests.get(name, _PLAIN)) for name in names))
            for name, result in zip(names, results, strict=True):
                if isinstance(result, ModelSource):
                    sources[name] = result
                else:
                    failed[name] = result
            parts = {part for name in names if name in sources for part in composing_models(sources[name].config)}
            wanted = {part for part in parts if not self._serving.versions(part)} - sources.keys() - failed.keys()
        return sources, failed

    async def _load_all(self, sources: Mapping[str, ModelSource], failed: dict[str, LoadFailure]) -> None:
        """Load `sources`, composing models before ensembles, then update the ensembles that need one of them."""
        waves, circle = load_waves({name: composing_models(source.config) for name, source in sources.items()}, sources)
        failed.update({name: failures.circular(name) for name in sorted(circle)})
        for wave in waves:
            results = await asyncio.gather(*(self._load_one(sources[name], failed) for name in wave))
            failed.update({name: failure for name, failure in zip(wave, results, strict=True) if failure is not None})
        composition = self._composition()
        waves, _ = load_waves(composition, dependents(composition, sources) - sources.keys())
        for wave in waves:
            for name in wave:
                await self._look_after(name)

    async def _look_after(self, name: str) -> None:
        """Let an ensemble with changed composing models serve again, or stop it."""
        serving = self._serving.versions(name)
        if not serving:
            source = await self._loader.read(name, _PLAIN)
            if isinstance(source, ModelSource):
                await self._load_one(source, {})
            return
        failure = self._unfit_part(serving[-1].config, {})
        if failure is not None:
            _LOG.error("ensemble '%s' stops serving: %s", name, failure.detail)
            self._take_down(self._with_dependents([name]))

    async def _load_one(self, source: ModelSource, failed: Mapping[str, LoadFailure]) -> LoadFailure | None:
        name = source.name
        before = self._records[name].source if self._serving.versions(name) else None
        if before is not None and before.is_retained_by(source):
            return None
        kept = self._unchanged(before, source)
        loaded: list[ModelVersion] = []
        failure = self._unfit_part(source.config, failed)
        if failure is None:
            former = self._predecessors(before, source)
            loaded, failure = await self._load_versions(source, source.versions.keys() - kept.keys(), former)
        if failure is not None:
            _LOG.error("failed to load '%s': %s", name, failure.detail)
            if before is None and composing_models(source.config):
                self._records[name] = _Record(source)  # it waits for its composing models
            source.discard()
            return failure
        self._put_in_service(source, before, [*kept.values(), *loaded])
        for model in loaded:
            self._preparation.add(model)
        _LOG.info("successfully loaded '%s'", name)
        return None

    def _unchanged(self, before: ModelSource | None, source: ModelSource) -> dict[int, ModelVersion]:
        if before is None or source.override is not None or not source.shares_config(before):
            return {}
        return {
            model.version: model
            for model in self._serving.versions(source.name)
            if model.version in source.versions and source.same_version(before, model.version)
        }

    def _predecessors(self, before: ModelSource | None, source: ModelSource) -> dict[int, ModelVersion]:
        """Return the versions whose files are unchanged, so that what they loaded may serve another config."""
        if before is None or not source.shares_files(before):
            return {}
        return {
            model.version: model
            for model in self._serving.versions(source.name)
            if source.same_version(before, model.version)
        }

    def _unfit_part(
        self, config: model_config_pb2.ModelConfig, failed: Mapping[str, LoadFailure]
    ) -> LoadFailure | None:
        """Return why an ensemble cannot serve with its composing models as they are, or None."""
        parts = composing_models(config)
        missing = [part for part in parts if part in failed and failed[part].polled]
        if missing:
            return failures.missing_parts(config.name, missing)
        configs = {}
        for step in config.ensemble_scheduling.step:
            models = {model.version: model for model in self._serving.versions(step.model_name)}
            if not models:
                return failures.failed_part(config.name, step.model_name, failed.get(step.model_name))
            if step.model_version != _LATEST and step.model_version not in models:
                return failures.missing_part_version(config.name, step.model_name, step.model_version)
            configs[step.model_name] = models[max(models)].config
        problems = validate_ensemble(config, configs) if parts else []
        return failures.unfit(problems) if problems else None

    async def _load_versions(
        self, source: ModelSource, versions: Iterable[int], former: Mapping[int, ModelVersion]
    ) -> tuple[list[ModelVersion], LoadFailure | None]:
        """Load versions together; if one fails, none of them will serve."""
        name, numbers = source.name, sorted(versions)
        fresh = set(numbers) - {model.version for model in self._serving.versions(name)}
        for version in numbers:
            _LOG.info("loading: %s:%d", name, version)
            if version in fresh:
                self._states.set(name, version, State.LOADING)
        loads = (self._load_version(source, version, former.get(version)) for version in numbers)
        results = await asyncio.gather(*loads)
        loaded = [result for result in results if isinstance(result, ModelVersion)]
        errors = {v: result for v, result in zip(numbers, results, strict=True) if isinstance(result, SlipwayError)}
        for version in fresh & errors.keys():
            error = errors[version]
            self._states.set(name, version, State.UNAVAILABLE, failures.version_reason(error), error.problems)
        if not errors:
            return loaded, None
        gone = [model.version for model in loaded if model.version in fresh]
        self._retirement.begin([[Departure(name, loaded, self._unloading(name, gone))]])
        return [], failures.failed_versions(errors)

    async def _load_version(
        self, source: ModelSource, version: int, former: ModelVersion | None
    ) -> ModelVersion | SlipwayError:
        try:
            return await self._loader.load(source, version, former)
        except SlipwayError as error:
            return error

    # Changing what serves

    def _put_in_service(self, source: ModelSource, before: ModelSource | None, models: list[ModelVersion]) -> None:
        name = source.name
        former = [model for model in self._serving.versions(name) if model not in models]
        self._serving.replace(name, models)
        for model in models:
            self._states.set(name, model.version, State.READY)
        numbers = {model.version for model in models}
        gone = [model.version for model in former if model.version not in numbers]
        if former:
            self._retirement.begin([[Departure(name, former, self._unloading(name, gone), source=before)]])
        record = _Record(source)
        record.explicit = name in self._records and self._records[name].explicit
        self._records[name] = record

    def _unloading(self, name: str, versions: Iterable[int]) -> dict[int, StateRow]:
        return {version: self._states.set(name, version, State.UNLOADING) for version in versions}

    def _take_down(self, names: Collection[str]) -> None:
        """Take models out of service, callers first."""
        waves, _ = load_waves(self._composition(), names)
        departures = [[self._hide(name) for name in wave if name in self._serving.public] for wave in reversed(waves)]
        self._retirement.begin([wave for wave in departures if wave])

    def _hide(self, name: str) -> Departure:
        hidden = self._serving.hide(name)
        models = listed(hidden)
        rows = self._unloading(name, [model.version for model in models])
        return Departure(name, models, rows, hidden, self._records[name].source)
