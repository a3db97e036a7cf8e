"""Which models an ensemble is composed of, and the order in which models load and unload. Pure.

Models are ids here, or bare names where every model of a name counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

from tritonclient.grpc import model_config_pb2

from slipway.core.model_id import ModelId

Model = TypeVar("Model", str, ModelId)
Composition = Mapping[Model, Collection[Model]]  # ensemble -> the models of its steps


def is_ensemble(config: model_config_pb2.ModelConfig) -> bool:
    """Return whether a config describes an ensemble."""
    return bool(config.HasField("ensemble_scheduling")) or config.platform == "ensemble"


def composing_models(config: model_config_pb2.ModelConfig) -> frozenset[str]:
    """Return the names of the models in an ensemble's steps; an empty set for any other model."""
    return frozenset(step.model_name for step in config.ensemble_scheduling.step)


def dependents(composition: Composition[Model], models: Iterable[Model]) -> frozenset[Model]:
    """Return the ensembles that need one of `models`, directly or through other ensembles."""
    reached = set(models)
    found: set[Model] = set()
    while True:
        more = {ensemble for ensemble, parts in composition.items() if not reached.isdisjoint(parts)} - found
        if not more:
            return frozenset(found)
        found |= more
        reached |= more


def components(composition: Composition[Model], models: Iterable[Model]) -> frozenset[Model]:
    """Return the models that `models` are composed of, directly or through other ensembles."""
    found: set[Model] = set()
    waiting = list(models)
    while waiting:
        for part in composition.get(waiting.pop(), ()):
            if part not in found:
                found.add(part)
                waiting.append(part)
    return frozenset(found)


def load_waves(composition: Composition[Model], models: Iterable[Model]) -> tuple[list[list[Model]], frozenset[Model]]:
    """Return `models` in groups that may load together, composing models before ensembles, and those in a cycle."""
    remaining = set(models)
    circular: set[Model] = set()
    while True:
        sorter = TopologicalSorter(
            {model: [part for part in composition.get(model, ()) if part in remaining] for model in sorted(remaining)}
        )
        try:
            sorter.prepare()
        except CycleError as error:
            circle = set(error.args[1])
            circular |= circle
            remaining -= circle
            continue
        waves = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            waves.append(ready)
            sorter.done(*ready)
        return waves, frozenset(circular)
