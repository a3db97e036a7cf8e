"""The tables that map a requested model and version to a loaded version.

There is one for clients, `public`, and one for each namespace that has ensembles or models with business logic, a
`Scope`: from these a retiring model is removed later, so that accepted requests can still finish. All are by bare name,
so a look-up costs the same with and without namespaces; `engine.names` decides what a name means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from slipway.core.model_id import ModelId
from slipway.core.version import parse_version
from slipway.engine.model import ModelVersion
from slipway.engine.names import ModelNames, PlainNames
from slipway.engine.states import StateTable
from slipway.errors import SlipwayError, not_found, shown, unavailable
from slipway.scheduling.api import STOPPED

Versions = dict[str, ModelVersion]  # by number in decimal; "" is the highest one
View = dict[str, Versions]  # by bare name


@dataclass(slots=True, eq=False, weakref_slot=True)
class Scope:
    """What names mean in a namespace. The table is kept up to date while somebody holds the scope."""

    namespace: str
    models: View = field(default_factory=dict)


class ServingTable:
    """The versions that serve. The dictionary of a model's versions is replaced as a whole, never changed."""

    def __init__(self, states: StateTable, names: ModelNames | None = None) -> None:
        self.public: View = {}
        self.names: ModelNames = names or PlainNames()
        self.closed = False  # the server is stopping
        self.unusable = False  # the server could not be initialised, and never serves a model
        self.changes = 0  # how often the models, or what their names mean, changed
        self._states = states
        self._serving: dict[ModelId, Versions] = {}
        self._callable: dict[ModelId, Versions] = {}  # by other models: those that serve, and those that retire
        self._scopes: WeakValueDictionary[str, Scope] = WeakValueDictionary()

    # What changes

    def close(self) -> None:
        """Refuse requests of clients from now on."""
        self.closed = True
        self.public.clear()

    def want(self, model: ModelId) -> None:
        """Let the name of a model mean it, even if it does not serve."""
        self.names.want(model)
        self.update(model.name)

    def unwant(self, model: ModelId) -> None:
        """Let the name of a model no longer mean it."""
        self.names.unwant(model)
        self.update(model.name)

    def replace(self, model: ModelId, versions: Iterable[ModelVersion]) -> None:
        """Make `versions` those that serve, from the next request on."""
        ordered = sorted(versions, key=lambda version: version.version)
        by_number = {str(version.version): version for version in ordered}
        by_number[""] = ordered[-1]
        self._serving[model] = self._callable[model] = by_number
        self.want(model)

    def hide(self, model: ModelId) -> Versions:
        """Hide a model from clients and return the versions that served; models may still call it until `drop`."""
        hidden = self._serving.pop(model)
        self.update(model.name)
        return hidden

    def drop(self, model: ModelId, hidden: Versions) -> None:
        """Remove the versions that `hide` returned; a model that was loaded again meanwhile stays."""
        if self._callable.get(model) is hidden:
            del self._callable[model]
            self.update(model.name)

    def update(self, name: str) -> None:
        """Let requests find what a name means now, after `names` has changed."""
        self.changes += 1
        meant = self.names.meant(name)
        if not self.closed:
            _point(self.public, name, self._serving.get(next(iter(meant))) if len(meant) == 1 else None)
        for scope in self._scopes.values():
            _point(scope.models, name, self.seen_in(scope.namespace, name))

    # What serves

    def scope(self, namespace: str) -> Scope:
        """Return what names mean to the ensembles and models of a namespace."""
        scope = self._scopes.get(namespace)
        if scope is None:
            scope = self._scopes[namespace] = Scope(namespace)
            for name in {model.name for model in self._callable}:
                _point(scope.models, name, self.seen_in(namespace, name))
        return scope

    def seen_in(self, namespace: str, name: str) -> Versions | None:
        """Return the versions that the ensembles and models of a namespace call by a name.

        Their own neighbour comes first, even while it retires: accepted requests finish with the model they began with.
        """
        own = self._callable.get(ModelId(namespace, name))
        if own is not None:
            return own
        model = self.names.inside(namespace, name)
        if model is not None:
            return self._callable.get(model)
        if self.names.meant(name):  # ambiguous
            return None
        retiring = [versions for model, versions in self._callable.items() if model.name == name]
        return retiring[0] if len(retiring) == 1 else None

    def serving(self) -> list[ModelId]:
        """Return the models that clients can call."""
        return sorted(self._serving)

    def versions(self, model: ModelId) -> list[ModelVersion]:
        """Return the versions of a model that clients can call, ascending."""
        return listed(self._serving.get(model, {}))

    def serves(self, model: ModelVersion) -> bool:
        """Return whether clients can call a version."""
        return not self.closed and model in self.versions(model.id)

    def all(self) -> list[ModelVersion]:
        """Return every version that clients can call, by model and number."""
        return [version for model in self.serving() for version in listed(self._serving[model])]

    def require_usable(self) -> None:
        """Raise UNAVAILABLE, with Triton's text, if the server could not be initialised."""
        if self.unusable:
            raise unavailable("Server not ready")

    def find(self, name: str, version: str, scope: Scope | None = None) -> ModelVersion:
        """Return the version that a client, or a model in `scope`, calls by `name` and `version`; raise `SlipwayError`
        with Triton's text."""
        versions = (self.public if scope is None else scope.models).get(name, {})
        if version in versions:
            return versions[version]
        self.require_usable()
        if self.closed and scope is None:
            raise unavailable(STOPPED)
        number = parse_version(version) if version else None
        if number is not None and str(number) in versions:
            return versions[str(number)]
        model = self._meant(name, scope)
        known = dict(self._states.versions(model)) if self._states.knows(model) else None
        raise _unknown(name, number, known)

    def _meant(self, name: str, scope: Scope | None) -> ModelId:
        """Return the model that a name means; raise `SlipwayError` if it does not mean exactly one."""
        model = None if scope is None else self.names.inside(scope.namespace, name)
        refusal = self.names.refusal(name) if model is None else None
        if refusal is not None:
            raise refusal
        return model or next(iter(self.names.meant(name)))


def listed(versions: Versions) -> list[ModelVersion]:
    """Return the versions of one model, ascending."""
    return [model for number, model in versions.items() if number]


def _point(view: View, name: str, versions: Versions | None) -> None:
    if versions is None:
        view.pop(name, None)
    else:
        view[name] = versions


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
