"""Which models an ensemble is composed of, and the order in which models load and unload. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from tritonclient.grpc import model_config_pb2

Composition = Mapping[str, Collection[str]]  # ensemble -> the models of its steps


def is_ensemble(config: model_config_pb2.ModelConfig) -> bool:
    """Return whether a config describes an ensemble."""
    return bool(config.HasField("ensemble_scheduling")) or config.platform == "ensemble"


def composing_models(config: model_config_pb2.ModelConfig) -> frozenset[str]:
    """Return the models in an ensemble's steps; an empty set for any other model."""
    return frozenset(step.model_name for step in config.ensemble_scheduling.step)


def dependents(composition: Composition, names: Iterable[str]) -> frozenset[str]:
    """Return the ensembles that need one of `names`, directly or through other ensembles."""
    reached = set(names)
    found: set[str] = set()
    while True:
        more = {ensemble for ensemble, parts in composition.items() if not reached.isdisjoint(parts)} - found
        if not more:
            return frozenset(found)
        found |= more
        reached |= more


def components(composition: Composition, names: Iterable[str]) -> frozenset[str]:
    """Return the models that `names` are composed of, directly or through other ensembles."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        for part in composition.get(waiting.pop(), ()):
            if part not in found:
                found.add(part)
                waiting.append(part)
    return frozenset(found)


def load_waves(composition: Composition, names: Iterable[str]) -> tuple[list[list[str]], frozenset[str]]:
    """Return `names` in groups that may load together, composing models before ensembles, and the names in a cycle."""
    remaining = set(names)
    circular: set[str] = set()
    while True:
        sorter = TopologicalSorter(
            {name: [part for part in composition.get(name, ()) if part in remaining] for name in sorted(remaining)}
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
