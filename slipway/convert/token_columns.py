"""How the report shows candidates that generate: agreement in tokens, speed in tokens per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slipway.convert.agreement import Agreement
from slipway.convert.report import Candidate, Columns


@dataclass(frozen=True, slots=True)
class TokenSpeed:
    """Generated tokens per second for a batch of `batch` rows."""

    batch: int
    source_tokens: int
    new_tokens: int
    tokens_per_second: float

    @property
    def rate(self) -> float:
        """Return the generated tokens per second."""
        return self.tokens_per_second


def _cells(candidate: Candidate) -> tuple[str, ...]:
    found: Agreement | None = candidate.figures
    rates = [f"{speed.tokens_per_second:.0f} (batch {speed.batch})" for speed in candidate.speeds] or ["", ""]
    if found is None:
        return "", "", "", *rates
    apart = [(found.ties, "ties"), (found.near, "near ties")]
    same = ", ".join([f"{found.same_rows} of {found.rows}", *(f"{count} {what}" for count, what in apart if count)])
    searched = found.searched
    others = "" if searched is None else f"{searched.same_rows + searched.ties} of {searched.rows}"
    return same, f"{found.share:.1%}", others, *rates


def _cells_with_texts(candidate: Candidate) -> tuple[str, ...]:
    found: Agreement | None = candidate.figures
    same, tokens, searched, *rates = _cells(candidate)
    if found is None:
        return same, "", tokens, searched, "", *rates
    texts = found.perplexity
    predicted = "" if texts is None else f"{texts.candidate:.4g} ({texts.change:+.2%})"
    return same, f"{found.same_first} of {found.first_tokens}", tokens, searched, predicted, *rates


def _fields(candidate: Candidate) -> dict[str, Any]:
    # every report has the keys of both kinds
    return {"figures": None, "speeds": (), "agreement": candidate.figures, "tokens": candidate.speeds}


def _measured(_: Candidate) -> str:
    return "measured in generated tokens per second on this machine"


def token_columns(reference: str, searched: str, *, texts: bool = False) -> Columns:
    """Return how candidates are shown that were compared with `reference`; `searched` is the header of the rows that
    are not searched greedily. With `texts`, first tokens and perplexity have columns, too."""

    def lost(candidate: Candidate) -> str:
        found: Agreement | None = candidate.figures
        if found is None or candidate.variant.precision == "fp32":
            return ""
        ids = f"{found.same_rows} of {found.rows} texts match {reference}, and {found.share:.1%} of their tokens"
        return ids if found.perplexity is None else f"{ids}; perplexity {found.perplexity.change:+.2%}"

    speeds = ("tokens/s alone", "tokens/s in a batch")
    if texts:
        headers = ("same rows", "first tokens", "same tokens", searched, "perplexity", *speeds)
        return Columns(headers, _cells_with_texts, _fields, _measured, lost)
    return Columns(("same rows", "same tokens", searched, *speeds), _cells, _fields, _measured, lost)
