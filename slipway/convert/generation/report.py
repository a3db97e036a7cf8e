"""How the report shows candidates that generate text: agreement in tokens, speed in tokens per second."""

from __future__ import annotations

from typing import Any, Final

from slipway.convert.generation.gate import Agreement
from slipway.convert.report import Candidate, Columns


def _cells(candidate: Candidate) -> tuple[str, ...]:
    found: Agreement | None = candidate.figures
    rates = [f"{speed.tokens_per_second:.0f} (batch {speed.batch})" for speed in candidate.speeds] or ["", ""]
    if found is None:
        return "", "", *rates
    same = f"{found.same_rows} of {found.rows}" + (f", {found.ties} ties" if found.ties else "")
    return same, f"{found.share:.1%}", *rates


def _fields(candidate: Candidate) -> dict[str, Any]:
    # every report has the keys of both kinds
    return {"figures": None, "speeds": (), "agreement": candidate.figures, "tokens": candidate.speeds}


def _measured(_: Candidate) -> str:
    return "measured in generated tokens per second on this machine"


COLUMNS: Final = Columns(
    ("same rows", "same tokens", "tokens/s alone", "tokens/s in a batch"), _cells, _fields, _measured
)
