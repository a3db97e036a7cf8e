"""The table that maps a requested model and version to a loaded version.

It has two views of the same models. Clients use `public`; ensembles and models' business logic use `internal`, from
which a retiring model is removed later, so that accepted requests can still finish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slipway.core.version import parse_version
from slipway.engine.model import ModelVersion
from slipway.engine.states import StateTable
from slipway.errors import SlipwayError, not_found, shown, unavailable
from slipway.scheduling.api import STOPPED

Versions = dict[str, ModelVersion]  # by number in decimal; "" is the highest one
View = dict[str, Versions]  # by model


class ServingTable:
    """The versions that serve. The dictionary of a model's versions is replaced as a whole, never changed."""

    def __init__(self, states: StateTable) -> None:
        self.public: View = {}
        self.internal: View = {}
        self.closed = False  # the server is stopping
        self.unusable = False  # the server could not be initialised, and never serves a model
        self.changes = 0  # how often the models changed
        self._states = states

    def replace(self, name: str, models: Iterable[ModelVersion]) -> None:
        """Make `models` the versions that serve under `name`, from the next request on."""
        ordered = sorted(models, key=lambda model: model.version)
        versions = {str(model.version): model for model in ordered}
        versions[""] = ordered[-1]
        self.changes += 1
        self.public[name] = self.internal[name] = versions

    def hide(self, name: str) -> Versions:
        """Hide a model from clients and return the versions that served; models may still call it until `drop`."""
        return self.public.pop(name)

    def drop(self, name: str, hidden: Versions) -> None:
        """Remove the versions that `hide` returned; a model that was loaded again meanwhile stays."""
        if self.internal.get(name) is hidden:
            del self.internal[name]
            self.changes += 1

    def versions(self, name: str) -> list[ModelVersion]:
        """Return the versions of a model that clients can call, ascending."""
        return listed(self.public.get(name, {}))

    def all(self) -> list[ModelVersion]:
        """Return every version that clients can call, by name and number."""
        return [model for name in sorted(self.public) for model in listed(self.public[name])]

    def require_usable(self) -> None:
        """Raise UNAVAILABLE, with Triton's text, if the server could not be initialised."""
        if self.unusable:
            raise unavailable("Server not ready")

    def find(self, view: View, name: str, version: str) -> ModelVersion:
        """Return the version under `name` and `version` in a view; raise `SlipwayError` with Triton's text."""
        versions = view.get(name, {})
        if version in versions:
            return versions[version]
        self.require_usable()
        if self.closed and view is not self.internal:
            raise unavailable(STOPPED)
        known = dict(self._states.versions(name))
        number = parse_version(version) if version else None
        if number is not None and str(number) in versions:
            return versions[str(number)]
        raise _unknown(name, number, known if self._states.knows(name) else None)


def listed(versions: Versions) -> list[ModelVersion]:
    """Return the versions of one model, ascending."""
    return [model for number, model in versions.items() if number]


def _unknown(name: str, version: int | None, known: Mapping[int, object] | None) -> SlipwayError:
    """Return Triton's error for a model version (None: any) that does not serve; `known` are versions with a state,
    None if the model is unknown."""
    what = f"Request for unknown model: '{shown(name)}'"
    if known is None:
        return not_found(f"{what} is not found")
    if version is None:
        return not_found(f"{what} has no available versions")
    if version in known:
        return unavailable(f"{what} version {version} is not at ready state")
    return not_found(f"{what} version {version} is not found")
