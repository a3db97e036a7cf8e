"""A case of the fuzz: a seed and an index decide a valid request and the changes made to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.reference.fuzz import control, grpc_draft, http_changes, http_draft, routes
from tests.reference.fuzz.signatures import Signature
from tests.reference.grpc_cases import GrpcCase
from tests.reference.http_cases import HttpCase

Step = HttpCase | GrpcCase


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: how a valid one is made, what may change, and how often it is chosen."""

    weight: float
    draft: Callable[[Random, tuple[Signature, ...]], Any]
    changes: tuple[Callable[[Any, Random], None], ...]


KINDS = {
    "infer": Kind(44, http_draft.draft_infer, http_changes.INFER),
    "generate": Kind(14, http_draft.draft_generate, http_changes.GENERATE),
    "route": Kind(8, routes.draft_route, http_changes.ANY),
    "grpc infer": Kind(18, grpc_draft.draft_unary, grpc_draft.CHANGES),
    "grpc stream": Kind(10, grpc_draft.draft_stream, grpc_draft.CHANGES),
    "grpc route": Kind(5, routes.draft_call, routes.CALL_CHANGES),
    "control": Kind(  # slow: the reference takes more than a second for a load
        0.2, control.draft_control, control.CONTROL_CHANGES
    ),
}
VALID = 0.15  # of the cases are not changed at all


@dataclass(frozen=True, slots=True)
class Case:
    """The seed, the index, and the places of the changes that are kept."""

    seed: int
    index: int
    kept: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The name of its kind."""
        return self._rng().choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]

    @property
    def changes(self) -> list[str]:
        """The names of the changes that are kept."""
        return [KINDS[self.kind].changes[number].__name__ for place, number in self._drawn() if place in self.kept]

    def without(self, place: int) -> Case:
        """Return the case without one of its changes."""
        return Case(self.seed, self.index, tuple(each for each in self.kept if each != place))

    def steps(self, signatures: tuple[Signature, ...]) -> tuple[Step, ...]:
        """Return the requests to send, in order."""
        kind = KINDS[self.kind]
        draft = kind.draft(self._rng("draft"), signatures)
        for place, number in self._drawn():
            if place in self.kept:
                kind.changes[number](draft, self._rng(f"change {place}"))
        finished = draft.finish(f"{self.kind} {self.seed}/{self.index}")
        return finished if isinstance(finished, tuple) else (finished,)

    def _rng(self, purpose: str = "kind") -> Random:
        return Random(f"{self.seed}/{self.index}/{purpose}")

    def _drawn(self) -> list[tuple[int, int]]:
        return list(enumerate(_draw(self._rng("changes"), len(KINDS[self.kind].changes))))

    def __str__(self) -> str:
        keep = ",".join(map(str, self.kept)) or "none"
        return f"--seed {self.seed} --case {self.index} --keep {keep}"


def _draw(rng: Random, count: int) -> list[int]:
    number = 0 if rng.random() < VALID else rng.choice((1, 1, 1, 2, 2, 3))
    return [rng.randrange(count) for _ in range(number)]


def whole_case(seed: int, index: int) -> Case:
    """Return the case with all its changes."""
    case = Case(seed, index, ())
    return Case(seed, index, tuple(range(len(case._drawn()))))
