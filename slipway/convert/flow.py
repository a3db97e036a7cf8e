"""The interface between the conversion (conversion.py) and the wings: the steps that depend on the model family."""

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
    """The result of a gate: the family's figures, a text for each criterion that failed (empty if it passed), and the
    criteria if the report lists them."""

    figures: Any
    problems: tuple[str, ...] = ()
    criteria: Thresholds | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate met every criterion."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Made:
    """A variant whose model has been built in `directory`, with its entry in the report."""

    candidate: Candidate
    directory: Path

    @property
    def variant(self) -> Variant:
        """The variant that was built."""
        return self.candidate.variant


class Flow(Protocol):
    """The conversion of one opened source.

    `model` is the name of the model that is built, verified and measured; `taken` are all model names that the
    conversion may replace in the repository; `report.models` are the names of the models that it writes.
    """

    report: ConversionReport
    variants: Sequence[Variant]
    model: str
    taken: tuple[str, ...]

    def prepare(self, work: Path) -> None:
        """Prepare what all candidates share, such as the reference outputs; a failure here ends the conversion."""

    def make(self, variant: Variant, directory: Path) -> None:
        """Write version 1 of the model and its config into `directory`, which does not exist yet; raise `SlipwayError`
        if it cannot be built, which does not stop the other variants."""

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        """Compare the model, run as it would be served, with the reference."""

    def measure(self, model: OpenModel) -> tuple[Any, ...]:
        """Return the speeds (`report.Speed`) of the model, in the same situations on every call."""

    def package(self, winner: Made, new: Path) -> None:
        """Write the final config of the winner, and every other model into `new`."""
