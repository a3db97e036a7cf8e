"""What a search rule is to the row that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway.transformer.decoding.beam import Distribution
from slipway.transformer.decoding.path import BeamHypothesis
from slipway.transformer.generation import Hypothesis


@dataclass(frozen=True, slots=True)
class BeamUpdate:
    """New hypothesis i continues the former `parents[i]` with `tokens[i]`; a finished row has none, but results."""

    parents: Sequence[int] = ()
    tokens: Sequence[int] = ()
    finished: Sequence[Hypothesis] | None = None


class SearchRule(Protocol):
    """How the hypotheses of one row are continued, finished and ordered."""

    @property
    def paths(self) -> Sequence[BeamHypothesis]:
        """The hypotheses that go on, one per row of the next distribution."""

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Continue all hypotheses by one token."""
