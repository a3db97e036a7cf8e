"""How the report shows candidates that generate text: agreement in tokens, speed in tokens per second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway.convert.generation.gate import Agreement
from slipway.convert.report import Candidate, Columns
from slipway.runtime.arguments import SETTINGS, STOP_NAMES
from slipway.runtime.settings import FIELDS, STOP_STRINGS


def _cells(candidate: Candidate) -> tuple[str, ...]:
    found: Agreement | None = candidate.figures
    rates = [f"{speed.tokens_per_second:.0f} (batch {speed.batch})" for speed in candidate.speeds] or ["", ""]
    if found is None:
        return "", "", "", *rates
    same = f"{found.same_rows} of {found.rows}" + (f", {found.ties} ties" if found.ties else "")
    searched = found.searched
    others = "" if searched is None else f"{searched.same_rows + searched.ties} of {searched.rows}"
    return same, f"{found.share:.1%}", others, *rates


def _fields(candidate: Candidate) -> dict[str, Any]:
    # every report has the keys of both kinds
    return {"figures": None, "speeds": (), "agreement": candidate.figures, "tokens": candidate.speeds}


def _measured(_: Candidate) -> str:
    return "measured in generated tokens per second on this machine"


def _lost(candidate: Candidate) -> str:
    found: Agreement | None = candidate.figures
    if found is None or candidate.variant.precision == "fp32":
        return ""
    return f"{found.same_rows} of {found.rows} texts match transformers, and {found.share:.1%} of their tokens"


COLUMNS: Final = Columns(
    ("same rows", "same tokens", "beams, draws, own", "tokens/s alone", "tokens/s in a batch"),
    _cells,
    _fields,
    _measured,
    _lost,
)


def parameter_rows(defaults: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the parameters of a request with their defaults, and the settings that hold for every request."""
    rows = [(", ".join(each.names), each.datatype, defaults.get(each.name, "")) for each in SETTINGS]
    rows.append((", ".join(STOP_NAMES), "BYTES", defaults.get(STOP_STRINGS, "")))
    return rows + [(name, "for every request", defaults[name]) for name in FIELDS if name in defaults]
