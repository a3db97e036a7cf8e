"""Which model a bare name means: to clients, and to the ensembles and models of a namespace. Pure.

Without --model-namespacing a name is all there is to a model. With it, clients reach a model by its name while it is
the only wanted one of that name, and the models of a namespace prefer their neighbours. A model is wanted from when it
is to be loaded until it is unloaded, whether it loads or not. Source: Triton core `model_repository_manager.cc`,
FindModelIdentifier and FindNode.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from slipway.core.model_id import ModelId
from slipway.errors import SlipwayError, invalid, not_found, shown


class ModelNames(Protocol):
    """The names of the wanted models; `shared` says whether several may have the same one."""

    shared: bool

    def want(self, model: ModelId) -> None:
        """Add a model."""

    def unwant(self, model: ModelId) -> None:
        """Remove a model; harmless if it is not wanted."""

    def meant(self, name: str) -> Collection[ModelId]:
        """Return the models that have a name."""

    def inside(self, namespace: str, name: str) -> ModelId | None:
        """Return the model that a name means in a namespace; None if there is none, or more than one elsewhere."""

    def refusal(self, name: str) -> SlipwayError | None:
        """Return Triton's error for a name that does not mean exactly one model; None for any other."""


class PlainNames:
    """Every name means the one model of that name, whether there is one or not. Implements `ModelNames`."""

    shared = False

    def want(self, model: ModelId) -> None:
        """Do nothing."""

    def unwant(self, model: ModelId) -> None:
        """Do nothing."""

    def meant(self, name: str) -> Collection[ModelId]:
        """Return the model."""
        return (ModelId("", name),)

    def inside(self, namespace: str, name: str) -> ModelId | None:
        """Return the model."""
        return ModelId(namespace, name)

    def refusal(self, name: str) -> SlipwayError | None:  # noqa: ARG002  the interface's
        """Return None."""
        return None


class NamespacedNames:
    """Names that several models may share. Implements `ModelNames`."""

    shared = True

    def __init__(self) -> None:
        self._wanted: dict[str, set[ModelId]] = {}  # an empty set for a name that nothing has any more

    def want(self, model: ModelId) -> None:
        """Add a model."""
        self._wanted.setdefault(model.name, set()).add(model)

    def unwant(self, model: ModelId) -> None:
        """Remove a model; harmless if it is not wanted."""
        self._wanted.get(model.name, set()).discard(model)

    def meant(self, name: str) -> Collection[ModelId]:
        """Return the models that have a name, by namespace."""
        return sorted(self._wanted.get(name, ()))

    def inside(self, namespace: str, name: str) -> ModelId | None:
        """Return the model of that name in the namespace, or else the only one anywhere."""
        models = self._wanted.get(name, set())
        own = ModelId(namespace, name)
        if own in models:
            return own
        return next(iter(models)) if len(models) == 1 else None

    def refusal(self, name: str) -> SlipwayError | None:
        """Return Triton's error for a name that does not mean exactly one model; None for any other."""
        models = self._wanted.get(name)
        if models is None:
            return invalid(f"Request for unknown model: '{shown(name)}' is not found")
        if not models:
            return not_found(f"Identifier of model '{shown(name)}' is not found in global map")
        if len(models) == 1:
            return None
        return invalid(
            f"There are {len(models)} identifiers of model '{shown(name)}' in global map, model namespace must be "
            "provided to resolve ambiguity."
        )
