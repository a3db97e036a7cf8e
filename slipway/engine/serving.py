"""Which version answers a request: the table every request is looked up in.

Two views of the same models. `public` is what clients reach; `internal` is what ensembles and business logic of
models reach, which is emptied later, so that what was accepted can still be finished while a model goes away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from slipway.engine.model import ModelVersion
from slipway.engine.states import StateTable
from slipway.errors import SlipwayError, invalid, not_found, unavailable

Versions = dict[str, ModelVersion]  # by number in decimal; "" is the highest one
View = dict[str, Versions]  # by model

_LEADING_INTEGER = re.compile(r"\s*[+-]?\d+")
_INT64 = 2**63


class ServingTable:
    """The versions that serve. A model's versions are replaced as a whole, never changed."""

    def __init__(self, states: StateTable) -> None:
        self.public: View = {}
        self.internal: View = {}
        self.closed = False  # the server is stopping
        self._states = states

    def replace(self, name: str, models: Iterable[ModelVersion]) -> None:
        """Let exactly `models` serve under `name`, from the next request on."""
        ordered = sorted(models, key=lambda model: model.version)
        versions = {str(model.version): model for model in ordered}
        versions[""] = ordered[-1]
        self.public[name] = self.internal[name] = versions

    def hide(self, name: str) -> Versions:
        """Take a model away from clients and return what served; models may still call it until `drop`."""
        return self.public.pop(name)

    def drop(self, name: str, hidden: Versions) -> None:
        """Take what `hide` returned away from everybody; a model that was loaded again meanwhile stays."""
        if self.internal.get(name) is hidden:
            del self.internal[name]

    def versions(self, name: str) -> list[ModelVersion]:
        """Return the versions of a model that clients reach, ascending."""
        return listed(self.public.get(name, {}))

    def all(self) -> list[ModelVersion]:
        """Return every version that clients reach, by name and number."""
        return [model for name in sorted(self.public) for model in listed(self.public[name])]

    def find(self, view: View, name: str, version: str) -> ModelVersion:
        """Return what a view has under `name` and `version`; raise `SlipwayError` in Triton's words."""
        versions = view.get(name, {})
        if version in versions:
            return versions[version]
        if self.closed and view is not self.internal:
            raise unavailable("Server is stopping, scheduler for model has stopped accepting new inference requests")
        rows = dict(self._states.versions(name))
        if version == "":
            known = "has no available versions" if rows else "is not found"
            raise not_found(f"Request for unknown model: '{name}' {known}")
        number = parse_version(version)
        if str(number) in versions:
            return versions[str(number)]
        if not rows:
            raise not_found(f"Request for unknown model: '{name}' is not found")
        if number in rows:
            raise unavailable(f"Request for unknown model: '{name}' version {number} is not at ready state")
        raise not_found(f"Request for unknown model: '{name}' version {number} is not found")


def listed(versions: Versions) -> list[ModelVersion]:
    """Return the versions of one model, ascending."""
    return [model for number, model in versions.items() if number]


def parse_version(text: str) -> int:
    """Return a requested version as a number, read as C++'s std::stoll does; raise INVALID_ARG."""
    match = _LEADING_INTEGER.match(text)
    number = int(match.group()) if match else None
    if number is None or not -_INT64 <= number < _INT64:
        raise _bad_version(f"failed to get model version from specified version string '{text}' (details: stol),")
    if number < 0:
        raise _bad_version(f"invalid model version specified '{text}' ,")
    return number


def _bad_version(message: str) -> SlipwayError:
    return invalid(f"{message} version should be an integral value > 0")
