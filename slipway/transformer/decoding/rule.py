"""What a search rule is to the row that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway.transformer.decoding.candidates import Distribution
from slipway.transformer.decoding.path import Path
from slipway.transformer.generation import Hypothesis


@dataclass(frozen=True, slots=True)
class Move:
    """New hypothesis i continues the former `parents[i]` with `tokens[i]`; a finished row has none, but results."""

    parents: Sequence[int] = ()
    tokens: Sequence[int] = ()
    finished: Sequence[Hypothesis] | None = None


class Rule(Protocol):
    """How the hypotheses of one row are continued, finished and ordered."""

    @property
    def paths(self) -> Sequence[Path]:
        """The hypotheses that go on, one per row of the next distribution."""

    def advance(self, distribution: Distribution) -> Move:
        """Continue all hypotheses by one token."""
