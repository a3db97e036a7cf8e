"""The seam between the one conversion (conversion.py) and the wings: what a family of models does its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slipway.convert.report import Candidate, ConversionReport
from slipway.convert.runner import OpenModel
from slipway.convert.thresholds import Thresholds
from slipway.convert.variants import Variant


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """A gate's answer: the family's figures, each broken criterion in words (none: passed), and the criteria where
    the report lists them."""

    figures: Any
    problems: tuple[str, ...] = ()
    criteria: Thresholds | None = None

    @property
    def passed(self) -> bool:
        """Whether every criterion holds."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Made:
    """A variant whose model is ready in `directory`, with what the report says of it."""

    candidate: Candidate
    directory: Path

    @property
    def variant(self) -> Variant:
        """What was made."""
        return self.candidate.variant


class Flow(Protocol):
    """One opened source on its way into a repository.

    `model` is the name of the model that is made, verified and measured; `taken` are all names that may stand in the
    way in the repository; `report.models` are those that are written.
    """

    report: ConversionReport
    variants: Sequence[Variant]
    model: str
    taken: tuple[str, ...]

    def prepare(self, work: Path) -> None:
        """Get what all candidates share, such as the reference's answers; a failure here ends the conversion."""

    def make(self, variant: Variant, directory: Path) -> None:
        """Write version 1 of the model and its config into `directory`, which does not exist yet; raise `SlipwayError`
        when it cannot be made, which costs nothing else."""

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        """Compare the model as it would be served with the reference."""

    def measure(self, model: OpenModel) -> tuple[Any, ...]:
        """Return its speeds (`report.Speed`), in the same situations each time."""

    def package(self, winner: Made, new: Path) -> None:
        """Give the winner its final config, and write every other model into `new`."""
