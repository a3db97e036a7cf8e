"""How many generated ids match a reference: the criterion of every gate of models that generate.

float32 must match every id, except where scores are equal within float32. Reduced precision must match a share of the
greedy ids, counted up to the first difference in each row; searches turn on smaller differences, so their rows are only
reported. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slipway.convert.thresholds import TOLERANCE


@dataclass(frozen=True, slots=True)
class Generated:
    """The ids of one row, without start token or prompt, and for each step the tokens that tie for the best score.

    Beam search has no ties of tokens: another hypothesis is as good if it has the same `score`."""

    ids: tuple[int, ...]
    ties: tuple[frozenset[int], ...]
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of a candidate's ids match the reference: whole rows, and tokens before a row's first difference;
    `searched` counts the rows that are not searched greedily."""

    rows: int = 0
    same_rows: int = 0
    ties: int = 0  # rows whose first difference is between equal scores
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""
    searched: Agreement | None = None

    @property
    def share(self) -> float:
        """Return the share of matching tokens; 1.0 if there are none."""
        return self.same_tokens / self.tokens if self.tokens else 1.0

    @property
    def different(self) -> int:
        """Return how many rows differ other than by a tie."""
        return self.rows - self.same_rows - self.ties


@dataclass(slots=True)
class AgreementCount:
    """Counts rows one by one."""

    rows: int = 0
    same_rows: int = 0
    ties: int = 0
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""

    def add(self, name: str, expected: Generated, found: Sequence[int], score: float) -> None:
        """Compare one row; `score` is that of the hypothesis that was found, in the terms of the expected one."""
        ids = expected.ids
        same = next(
            (at for at, (one, other) in enumerate(zip(ids, found, strict=False)) if one != other),
            min(len(ids), len(found)),
        )
        self.rows += 1
        if tuple(found) == ids:
            self.same_rows += 1
        elif _tied(expected, found, same, score):
            self.ties += 1
            ids = ids[:same]  # after a tie, both are correct
        elif not self.first_difference:
            wanted = ids[same] if same < len(ids) else "the end"
            got = found[same] if same < len(found) else "the end"
            self.first_difference = f"{name}, token {same}: {got} instead of {wanted}"
        self.tokens += len(ids)
        self.same_tokens += same

    def result(self, searched: Agreement | None = None) -> Agreement:
        """Return the figures."""
        return Agreement(
            self.rows, self.same_rows, self.ties, self.tokens, self.same_tokens, self.first_difference, searched
        )


def _tied(expected: Generated, found: Sequence[int], same: int, score: float) -> bool:
    """Return whether the row is as good: another token or another hypothesis has the same score."""
    if expected.score is not None:
        return abs(score - expected.score) <= TOLERANCE * max(1.0, abs(expected.score))
    return same < min(len(expected.ids), len(found)) and found[same] in expected.ties[same]


def disagreements(found: Agreement, precision: str, least: float, *, reference: str, searched: str) -> Iterator[str]:
    """Yield why a candidate of `precision` does not pass; `searched` says how the rows are searched that are not
    searched greedily."""
    if precision == "fp32" and found.different:
        yield (
            f"{found.different} of {found.rows} rows differ from {reference}; "
            f"first difference: {found.first_difference}"
        )
    others = found.searched
    if precision == "fp32" and others is not None and others.different:
        yield (
            f"{others.different} of {others.rows} rows {searched} differ from {reference}; first difference: "
            f"{others.first_difference}"
        )
    if precision != "fp32" and not found.share >= least:
        yield (
            f"{found.share:.1%} of the tokens match {reference} up to the first difference in each row "
            f"(required: {least:.0%}); first difference: {found.first_difference}"
        )
