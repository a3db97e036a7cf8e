"""The wanted models, and which of them belong together: what the steps of ensembles mean now. Changes nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from slipway.core.model_id import ModelId
from slipway.engine.dependencies import components, composing_models, dependents
from slipway.engine.names import ModelNames
from slipway.engine.source import ModelSource

Parts = Mapping[str, ModelId | None]  # which models the names in an ensemble's steps mean; None: none, or not one


@dataclass(slots=True, eq=False)
class Record:
    """A wanted model, which serves or is an ensemble that waits for its composing models."""

    source: ModelSource  # of the versions that serve, or of an ensemble's last attempt
    parts: Parts  # as they were then
    explicit: bool = False  # requested by name, not only as part of an ensemble


class Records:
    """The records by model. Names mean what `names` says."""

    def __init__(self, names: ModelNames) -> None:
        self.by_model: dict[ModelId, Record] = {}
        self._names = names

    def put(self, source: ModelSource, parts: Parts) -> None:
        """Make or replace a model's record."""
        former = self.by_model.get(source.id)
        self.by_model[source.id] = Record(source, parts, explicit=former is not None and former.explicit)

    def parts(self, source: ModelSource) -> Parts:
        """Return which models the names in an ensemble's steps mean now."""
        return {part: self._names.inside(source.id.namespace, part) for part in composing_models(source.config)}

    def composition(self) -> dict[ModelId, list[ModelId]]:
        """Return the known composing models of each ensemble."""
        return {model: known(self.parts(record.source)) for model, record in self.by_model.items() if record.parts}

    def with_dependents(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names of models and of the ensembles that need a model of one of these names."""
        composition: dict[str, set[str]] = {}
        for model, record in self.by_model.items():
            composition.setdefault(model.name, set()).update(record.parts)
        return frozenset(names) | dependents(composition, names)

    def related(self, models: Collection[ModelId]) -> set[ModelId]:
        """Return the ensembles that need a model of the name of one of `models`, without these."""
        names = self.with_dependents(names_of(models))
        return {model for model, record in self.by_model.items() if record.parts and model.name in names} - set(models)

    def freed_with(self, models: Iterable[ModelId]) -> set[ModelId]:
        """Return the composing models of ensembles that nothing else needs."""
        composition = self.composition()
        targets = set(models)
        freed = {part for part in components(composition, targets) if part in self.by_model}
        freed = {part for part in freed if not self.by_model[part].explicit}
        while True:
            needed = {part for part in freed if not dependents(composition, [part]) <= freed | targets}
            if not needed:
                return freed
            freed -= needed


def names_of(models: Iterable[ModelId]) -> frozenset[str]:
    """Return the bare names of models."""
    return frozenset(model.name for model in models)


def known(parts: Parts) -> list[ModelId]:
    """Return the models that the steps of an ensemble mean, as far as they mean one."""
    return [model for model in parts.values() if model is not None]
