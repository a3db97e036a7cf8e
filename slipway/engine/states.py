"""The state of every model version, for the repository index and readiness. Pure.

Rows are replaced, never changed, so the end of an unload can check that its row is still the current one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from slipway.core.model_id import ModelId
from slipway.problems import Problem


class State(Enum):
    """States of a model version; the value is the word in the repository index."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


# The allowed transitions; None means the version has no state yet.
TRANSITIONS: dict[State | None, frozenset[State]] = {
    None: frozenset({State.LOADING}),
    State.LOADING: frozenset({State.READY, State.UNAVAILABLE, State.UNLOADING}),
    State.READY: frozenset({State.READY, State.UNLOADING}),  # to itself: replaced by a reload
    State.UNLOADING: frozenset({State.LOADING, State.UNAVAILABLE}),
    State.UNAVAILABLE: frozenset({State.LOADING, State.UNAVAILABLE}),  # to itself: a failed version is no longer wanted
}

UNLOADED = "unloaded"  # Triton's reason for a version that is no longer wanted


@dataclass(frozen=True, slots=True, eq=False)
class StateRow:
    """One version's state and, for UNAVAILABLE, the reason, with its problems if they are known."""

    state: State
    reason: str = ""
    problems: tuple[Problem, ...] = ()


class StateTable:
    """Rows by model and version."""

    def __init__(self) -> None:
        self._rows: dict[ModelId, dict[int, StateRow]] = {}

    def set(
        self, model: ModelId, version: int, state: State, reason: str = "", problems: tuple[Problem, ...] = ()
    ) -> StateRow:
        """Set a version's state and return its row; raise ValueError for a transition that is not allowed."""
        rows = self._rows.setdefault(model, {})
        before = rows[version].state if version in rows else None
        if state not in TRANSITIONS[before]:
            raise ValueError(f"'{model}' version {version} cannot change from {before} to {state}")
        row = rows[version] = StateRow(state, reason, problems)
        return row

    def expect(self, model: ModelId) -> None:
        """Remember a model that is wanted, although it has no version to serve."""
        self._rows.setdefault(model, {})

    def knows(self, model: ModelId) -> bool:
        """Return whether a model has or had a version, or is expected to have one."""
        return model in self._rows

    def finish_unload(self, model: ModelId, version: int, row: StateRow) -> None:
        """Set a version to UNAVAILABLE, unless it has been loaded again or forgotten since `row` was set."""
        if self._rows.get(model, {}).get(version) is row:
            self.set(model, version, State.UNAVAILABLE, UNLOADED)

    def forget(self, model: ModelId) -> None:
        """Drop a model that was removed from the repositories, or that is no longer expected."""
        self._rows.pop(model, None)

    def versions(self, model: ModelId) -> list[tuple[int, StateRow]]:
        """Return a model's rows by ascending version; an empty list for a model that was never loaded."""
        return sorted(self._rows.get(model, {}).items())

    def models(self) -> Iterator[ModelId]:
        """Return every model that has been loaded or has failed to load."""
        return iter(self._rows)

    def all_ready(self) -> bool:
        """Return whether every model has a version and every version is READY, ignoring those that were unloaded on
        purpose."""
        return all(self._rows.values()) and all(
            row.state is State.READY or (row.state is State.UNAVAILABLE and row.reason == UNLOADED)
            for rows in self._rows.values()
            for row in rows.values()
        )
