"""Load, reload and unload models; ensembles load after, and unload before, the models they are composed of.

Rules: a version serves until its successor is ready; a failed load does not affect the versions that serve; an
operation waits for other operations on related models; a version that is unloaded finishes the requests it accepted.
With namespaces, models of one name are related, because which of them an ensemble means depends on all of them.
Does not know the control modes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.validate_ensemble import validate_ensemble
from slipway.core.model_id import ModelId
from slipway.engine import failures
from slipway.engine.claims import Claims
from slipway.engine.dependencies import Composition, components, composing_models, dependents, load_waves
from slipway.engine.failures import LoadFailure
from slipway.engine.heap import settle_heap
from slipway.engine.loading import Loader
from slipway.engine.model import ModelVersion
from slipway.engine.preparation import Preparation
from slipway.engine.records import Parts, Records, known, names_of
from slipway.engine.retirement import Departure, Retirement
from slipway.engine.serving import ServingTable, listed
from slipway.engine.source import LoadRequest, ModelSource
from slipway.engine.states import UNLOADED, State, StateRow, StateTable
from slipway.errors import SlipwayError

_LOG: Final = logging.getLogger("slipway.engine")
_PLAIN = LoadRequest()
_LATEST = -1  # `model_version` of a step that uses the latest version


class Lifecycle:
    """The only class that changes which versions serve."""

    def __init__(self, loader: Loader, serving: ServingTable, states: StateTable) -> None:
        self._loader = loader
        self._serving = serving
        self._states = states
        self._claims = Claims()
        self._preparation = Preparation(serving, lambda: self._claims.held)
        self._records = Records(serving.names)
        self._retirement = Retirement(serving, states, loader.threads)

    async def load_named(self, requests: Mapping[str, LoadRequest]) -> dict[ModelId, LoadFailure]:
        """Load every model of each name, as `load` does. Files that come with a request are a model of their own."""
        models: dict[ModelId, LoadRequest] = {}
        for name, request in requests.items():
            named = [] if request.files else await self._loader.named(name)
            models |= dict.fromkeys(named or [ModelId("", name)], request)
        return await self.load(models)

    async def load(self, requests: Mapping[ModelId, LoadRequest]) -> dict[ModelId, LoadFailure]:
        """Load models and the models they are composed of; return why some failed. Unchanged versions are kept."""
        names = names_of(requests)
        while True:
            claimed = self._records.with_dependents(names)
            async with self._claims.hold(claimed):
                sources, failed = await self._read(requests)
                names |= names_of(sources) | names_of(failed)
                if self._serving.names.shared:  # what a step means must not change meanwhile
                    names = names.union(*(composing_models(source.config) for source in sources.values()))
                if self._records.with_dependents(names) <= claimed:
                    for model in (model for model, failure in failed.items() if failure.versionless):
                        self._states.expect(model)
                        self._serving.want(model)
                    await self._load_all(sources, failed)
                    for model in requests:
                        if model in self._records.by_model:
                            self._records.by_model[model].explicit = True
                    settle_heap()
                    return failed
            for source in sources.values():  # more models are needed than were claimed: try again with all of them
                source.discard()

    async def unload(self, models: Collection[ModelId], *, unload_dependents: bool = False) -> None:
        """Take models and the ensembles that need them out of service. With `unload_dependents`, also take their
        composing models, except those that were requested by name or that another ensemble needs. Return once unloading
        has begun."""
        claimed: frozenset[str] = frozenset()
        while True:
            async with self._claims.hold(claimed):
                targets = {*models, *self._records.freed_with(models)} if unload_dependents else set(models)
                related = self._records.with_dependents(names_of(targets))
                if related <= claimed:
                    await self._remove(targets)
                    return
            claimed = related

    async def shutdown(self) -> None:
        """Wait for the running operations, finish the accepted requests and release everything."""
        await self._claims.idle()
        await self._preparation.stop()
        self._take_down(self._serving.serving(), self._records.composition())
        await self._retirement.finished()

    # Unloading

    async def _remove(self, targets: set[ModelId]) -> None:
        """Take models out of service. An ensemble whose step can mean another model now goes on with that."""
        former = self._records.composition()
        related = self._records.related(targets)
        for model in targets:
            self._serving.unwant(model)
        waves, _ = load_waves(self._records.composition(), related)
        staying: list[ModelId] = []
        for model in chain.from_iterable(waves):
            parts = self._records.parts(self._records.by_model[model].source).values()
            if all(part in staying or self._serves_without(part, targets | related) for part in parts):
                staying.append(model)
        self._take_down(targets | related - set(staying), former)
        self._forget(targets)
        for model in staying:
            await self._look_after(model)

    def _serves_without(self, model: ModelId | None, leaving: Collection[ModelId]) -> bool:
        return model is not None and model not in leaving and bool(self._serving.versions(model))

    def _forget(self, models: Iterable[ModelId]) -> None:
        for model in models:
            self._records.by_model.pop(model, None)
            if not self._states.versions(model):
                self._states.forget(model)
            for version, row in self._states.versions(model):
                if row.state is State.UNAVAILABLE:  # it had failed, and now it is no longer wanted
                    self._states.set(model, version, State.UNAVAILABLE, UNLOADED)

    # Loading

    async def _read(
        self, requests: Mapping[ModelId, LoadRequest]
    ) -> tuple[dict[ModelId, ModelSource], dict[ModelId, LoadFailure]]:
        """Return the sources of the requested models and of their composing models that do not serve yet."""
        sources: dict[ModelId, ModelSource] = {}
        failed: dict[ModelId, LoadFailure] = {}
        wanted = set(requests)
        while wanted:
            models = sorted(wanted)
            results = await asyncio.gather(*(self._loader.read(model, requests.get(model, _PLAIN)) for model in models))
            parts: set[ModelId] = set()
            for model, result in zip(models, results, strict=True):
                if isinstance(result, ModelSource):
                    sources[model] = result
                    parts |= {ModelId(model.namespace, part) for part in composing_models(result.config)}
                else:
                    failed[model] = result
            wanted = await self._absent(parts - sources.keys() - failed.keys()) - sources.keys() - failed.keys()
        return sources, failed

    async def _absent(self, parts: Collection[ModelId]) -> set[ModelId]:
        """Return what has to be loaded for composing models that are looked for in a namespace first: like a client's
        request to load a name, every model of that name."""
        found: set[ModelId] = set()
        for name in sorted({part.name for part in parts if not self._serving.versions(part)}):
            named = await self._loader.named(name)
            found |= set(named)
            if not named and not any(map(self._serving.versions, self._serving.names.meant(name))):
                found.add(ModelId("", name))
        return {model for model in found if not self._serving.versions(model)}

    async def _load_all(self, sources: Mapping[ModelId, ModelSource], failed: dict[ModelId, LoadFailure]) -> None:
        """Load `sources`, composing models before ensembles, then update the ensembles that need one of them."""
        for model in sources:
            self._serving.names.want(model)
        composition = {model: known(self._records.parts(source)) for model, source in sources.items()}
        waves, circle = load_waves(composition, sources)
        failed.update({model: failures.circular(model.name) for model in sorted(circle)})
        for wave in waves:
            results = await asyncio.gather(*(self._load_one(sources[model], failed) for model in wave))
            failed.update({model: failure for model, failure in zip(wave, results, strict=True) if failure is not None})
        for model in sources:  # only now, so that a load in progress changes nothing for requests
            self._serving.update(model.name)
        waves, _ = load_waves(self._records.composition(), self._records.related(sources))
        for wave in waves:
            for model in wave:
                await self._look_after(model)

    async def _look_after(self, model: ModelId) -> None:
        """Let an ensemble with changed composing models serve again, or stop it."""
        serving = self._serving.versions(model)
        if not serving:
            source = await self._loader.read(model, _PLAIN)
            if isinstance(source, ModelSource):
                await self._load_one(source, {})
            return
        record = self._records.by_model[model]
        failure = self._unfit_part(record.source, serving[-1].config, {})
        if failure is None and self._records.parts(record.source) != record.parts:
            failure = await self._load_one(record.source, {})
        if failure is not None:
            _LOG.error("ensemble '%s' stops serving: %s", model, failure.detail)
            composition = self._records.composition()
            self._take_down({model} | dependents(composition, [model]), composition)

    async def _load_one(self, source: ModelSource, failed: Mapping[ModelId, LoadFailure]) -> LoadFailure | None:
        model = source.id
        parts = self._records.parts(source)
        record = self._records.by_model[model] if self._serving.versions(model) else None
        before = None if record is None else record.source
        if record is not None and record.source.is_retained_by(source):
            if parts == record.parts:
                return None
            source = record.source
        kept = self._unchanged(before, source) if record is not None and parts == record.parts else {}
        loaded: list[ModelVersion] = []
        failure = self._unfit_part(source, source.config, failed)
        if failure is None:
            former = self._predecessors(before, source)
            loaded, failure = await self._load_versions(source, source.versions.keys() - kept.keys(), former)
        if failure is not None:
            _LOG.error("failed to load '%s': %s", model, failure.detail)
            if before is None and parts:
                self._records.put(source, parts)  # it waits for its composing models
            if source is not before:
                source.discard()
            return failure
        self._put_in_service(source, parts, before, [*kept.values(), *loaded])
        for version in loaded:
            self._preparation.add(version)
        _LOG.info("successfully loaded '%s'", model)
        return None

    def _unchanged(self, before: ModelSource | None, source: ModelSource) -> dict[int, ModelVersion]:
        if before is None or source.override is not None or not source.shares_config(before):
            return {}
        return {
            model.version: model
            for model in self._serving.versions(source.id)
            if model.version in source.versions and source.same_version(before, model.version)
        }

    def _predecessors(self, before: ModelSource | None, source: ModelSource) -> dict[int, ModelVersion]:
        """Return the versions whose files are unchanged, so that what they loaded may serve another config."""
        if before is None or not source.shares_files(before):
            return {}
        return {
            model.version: model
            for model in self._serving.versions(source.id)
            if source.same_version(before, model.version)
        }

    def _unfit_part(
        self, source: ModelSource, config: model_config_pb2.ModelConfig, failed: Mapping[ModelId, LoadFailure]
    ) -> LoadFailure | None:
        """Return why an ensemble cannot serve with its composing models as they are, or None."""
        parts = self._records.parts(source)
        missing = [part for part, model in parts.items() if model is None or (model in failed and failed[model].polled)]
        if missing:
            return failures.missing_parts(config.name, missing)
        known = {part: model for part, model in parts.items() if model is not None}
        configs = {}
        for step in config.ensemble_scheduling.step:
            model = known[step.model_name]
            versions = {each.version: each for each in self._serving.versions(model)}
            if not versions:
                return failures.failed_part(config.name, step.model_name, failed.get(model))
            if step.model_version != _LATEST and step.model_version not in versions:
                return failures.missing_part_version(config.name, step.model_name, step.model_version)
            latest = versions[max(versions)].config
            configs[step.model_name] = latest if model.namespace == source.id.namespace else _without_steps(latest)
        problems = validate_ensemble(config, configs) if parts else []
        if problems:
            return failures.unfit(problems)
        composition = {**self._records.composition(), source.id: list(known.values())}
        return failures.circular(config.name) if source.id in components(composition, [source.id]) else None

    async def _load_versions(
        self, source: ModelSource, versions: Iterable[int], former: Mapping[int, ModelVersion]
    ) -> tuple[list[ModelVersion], LoadFailure | None]:
        """Load versions together; if one fails, none of them will serve."""
        model, numbers = source.id, sorted(versions)
        fresh = set(numbers) - {each.version for each in self._serving.versions(model)}
        for version in numbers:
            _LOG.info("loading: %s:%d", model, version)
            if version in fresh:
                self._states.set(model, version, State.LOADING)
        loads = (self._load_version(source, version, former.get(version)) for version in numbers)
        results = await asyncio.gather(*loads)
        loaded = [result for result in results if isinstance(result, ModelVersion)]
        errors = {v: result for v, result in zip(numbers, results, strict=True) if isinstance(result, SlipwayError)}
        for version in fresh & errors.keys():
            error = errors[version]
            self._states.set(model, version, State.UNAVAILABLE, failures.version_reason(error), error.problems)
        if not errors:
            return loaded, None
        gone = [each.version for each in loaded if each.version in fresh]
        self._retirement.begin([[Departure(model, loaded, self._unloading(model, gone))]])
        return [], failures.failed_versions(errors)

    async def _load_version(
        self, source: ModelSource, version: int, former: ModelVersion | None
    ) -> ModelVersion | SlipwayError:
        try:
            return await self._loader.load(source, version, former)
        except SlipwayError as error:
            return error

    # Changing what serves

    def _put_in_service(
        self, source: ModelSource, parts: Parts, before: ModelSource | None, versions: list[ModelVersion]
    ) -> None:
        model = source.id
        former = [each for each in self._serving.versions(model) if each not in versions]
        self._serving.replace(model, versions)
        for each in versions:
            self._states.set(model, each.version, State.READY)
        numbers = {each.version for each in versions}
        gone = [each.version for each in former if each.version not in numbers]
        if former:
            unneeded = None if before is source else before
            self._retirement.begin([[Departure(model, former, self._unloading(model, gone), source=unneeded)]])
        self._records.put(source, parts)

    def _unloading(self, model: ModelId, versions: Iterable[int]) -> dict[int, StateRow]:
        return {version: self._states.set(model, version, State.UNLOADING) for version in versions}

    def _take_down(self, models: Collection[ModelId], composition: Composition[ModelId]) -> None:
        """Take models out of service, callers first."""
        waves, _ = load_waves(composition, models)
        serving = set(self._serving.serving())
        departures = [[self._hide(model) for model in wave if model in serving] for wave in reversed(waves)]
        self._retirement.begin([wave for wave in departures if wave])

    def _hide(self, model: ModelId) -> Departure:
        hidden = self._serving.hide(model)
        versions = listed(hidden)
        rows = self._unloading(model, [each.version for each in versions])
        return Departure(model, versions, rows, hidden, self._records.by_model[model].source)


def _without_steps(config: model_config_pb2.ModelConfig) -> model_config_pb2.ModelConfig:
    """Return the config without the names in its steps, which mean something else in its namespace."""
    outside = model_config_pb2.ModelConfig()
    outside.CopyFrom(config)
    outside.ClearField("ensemble_scheduling")
    return outside
