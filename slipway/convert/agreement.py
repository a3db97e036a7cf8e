"""How many generated ids match a reference: the criterion of every gate of models that generate.

float32 must match every id, except where scores are equal within float32. Reduced precision must match a share of the
greedy ids, counted up to the first difference in each row. A row that first differs by a token that the reference finds
almost as likely counts only up to there: rounding decides between such tokens, and what follows them is another text.
Searches turn on smaller differences still, so their rows are only reported. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slipway.convert.perplexity import Perplexity
from slipway.convert.thresholds import TOLERANCE


@dataclass(frozen=True, slots=True)
class Generated:
    """The ids of one row, without start token or prompt, and for each step the tokens that tie for the best score.

    Beam search has no ties of tokens: another hypothesis is as good if it has the same `score`. `behind` has the tokens
    of each step that are almost as likely as the best, and by how much they are less likely, in nats."""

    ids: tuple[int, ...]
    ties: tuple[frozenset[int], ...]
    score: float | None = None
    behind: tuple[Mapping[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of a candidate's ids match the reference: whole rows, and tokens before a row's first difference;
    `searched` counts the rows that are not searched greedily.

    `near` are rows whose first difference is a token almost as likely, `excused` the tokens after differences that do
    not count; `first_tokens` are rows that generate a token, `same_first` those whose first is right or almost as
    likely.
    """

    rows: int = 0
    same_rows: int = 0
    ties: int = 0  # rows whose first difference is between equal scores
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""
    searched: Agreement | None = None
    near: int = 0
    excused: int = 0
    first_tokens: int = 0
    same_first: int = 0
    perplexity: Perplexity | None = None

    @property
    def share(self) -> float:
        """Return the share of matching tokens; 1.0 if there are none."""
        return self.same_tokens / self.tokens if self.tokens else 1.0

    @property
    def counted(self) -> float:
        """Return the share of matching tokens among those that count."""
        counted = self.tokens - self.excused
        return self.same_tokens / counted if counted else 1.0

    @property
    def first_share(self) -> float:
        """Return the share of rows whose first token is right or almost as likely; 1.0 if there are none."""
        return self.same_first / self.first_tokens if self.first_tokens else 1.0

    @property
    def different(self) -> int:
        """Return how many rows differ other than by a tie."""
        return self.rows - self.same_rows - self.ties


@dataclass(slots=True)
class AgreementCount:
    """Counts rows one by one; a token that the reference finds less likely by at most `margin` is almost as likely.

    With `only_choices`, a row counts up to its first difference and no further: for models whose every token is held
    to the reference by other means."""

    margin: float = 0.0
    only_choices: bool = False
    rows: int = 0
    same_rows: int = 0
    ties: int = 0
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""
    near: int = 0
    excused: int = 0
    first_tokens: int = 0
    same_first: int = 0

    def add(self, name: str, expected: Generated, found: Sequence[int], score: float) -> None:
        """Compare one row; `score` is that of the hypothesis that was found, in the terms of the expected one."""
        ids = expected.ids
        same = next(
            (at for at, (one, other) in enumerate(zip(ids, found, strict=False)) if one != other),
            min(len(ids), len(found)),
        )
        self.rows += 1
        good = True
        if tuple(found) == ids:
            self.same_rows += 1
        elif _tied(expected, found, same, score):
            self.ties += 1
            ids = ids[:same]  # after a tie, both are correct
        else:
            good = self._nearly(expected, found, same)
            self.near += good
            if good or self.only_choices:
                self.excused += max(0, len(ids) - same - (not good))
            if not self.first_difference:
                wanted = ids[same] if same < len(ids) else "the end"
                got = found[same] if same < len(found) else "the end"
                self.first_difference = f"{name}, token {same}: {got} instead of {wanted}"
        if expected.ids:
            self.first_tokens += 1
            self.same_first += same > 0 or good
        self.tokens += len(ids)
        self.same_tokens += same

    def _nearly(self, expected: Generated, found: Sequence[int], same: int) -> bool:
        """Return whether the first token that differs is almost as likely as the expected one."""
        if not same < min(len(expected.behind), len(found)):
            return False
        return expected.behind[same].get(found[same], math.inf) <= self.margin

    def result(self, searched: Agreement | None = None) -> Agreement:
        """Return the figures."""
        return Agreement(
            self.rows,
            self.same_rows,
            self.ties,
            self.tokens,
            self.same_tokens,
            self.first_difference,
            searched,
            self.near,
            self.excused,
            self.first_tokens,
            self.same_first,
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
    if precision != "fp32" and not found.counted >= least:
        yield (
            f"{found.counted:.1%} of the tokens match {reference} up to the first difference in each row "
            f"(required: {least:.0%}); first difference: {found.first_difference}"
        )
