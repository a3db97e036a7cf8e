"""The report of a conversion of a generating model: agreement in tokens, speed in tokens per second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from slipway.convert.generation.gate import Agreement
from slipway.convert.generation.measure import TokenSpeed
from slipway.convert.report import Candidate, Report

HEADERS: Final = ("candidate", "gate", "same rows", "same tokens", "tokens/s alone", "tokens/s in a batch", "MB")


@dataclass(slots=True)
class GenerationCandidate(Candidate):
    """One engine and number type that was tried."""

    agreement: Agreement | None = None
    tokens: tuple[TokenSpeed, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """Return the geometric mean of the rates; 0 where it was not measured."""
        product = 1.0
        for speed in self.tokens:
            product *= speed.tokens_per_second
        return product ** (1 / len(self.tokens)) if self.tokens else 0.0

    def cells(self) -> tuple[str, ...]:
        """Return the candidate as a row of the report's table."""
        found = self.agreement
        rates = [f"{speed.tokens_per_second:.0f} (batch {speed.batch})" for speed in self.tokens] or ["", ""]
        same = "" if found is None else f"{found.same_rows} of {found.rows}"
        if found is not None and found.ties:
            same += f", {found.ties} ties"
        share = "" if found is None else f"{found.share:.1%}"
        return (self.label, self.status, same, share, *rates, f"{self.bytes / 1e6:.1f}")


@dataclass(slots=True)
class GenerationReport(Report):
    """What a conversion of a generating model found out; `notes` is what is done otherwise than by transformers."""

    notes: list[str] = field(default_factory=list)

    headers = HEADERS

    def lines_after(self) -> list[str]:
        """Return the notes."""
        return ["", "## Notes", "", *(f"- {note}" for note in self.notes)] if self.notes else []
