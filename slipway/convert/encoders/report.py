"""How the report shows candidates whose outputs are tensors."""

from __future__ import annotations

from typing import Any, Final

from slipway.convert.encoders.gate import Figures
from slipway.convert.report import Candidate, Columns


def _cells(candidate: Candidate) -> tuple[str, ...]:
    speeds = "; ".join(
        f"{speed.length}: {speed.latency_ms:.1f} ms, {speed.rows_per_second:.0f}/s" for speed in candidate.speeds
    )
    figures: Figures | None = candidate.figures
    if figures is None:
        return "", "", "", "", speeds
    return (
        f"{figures.difference:.1e}",
        f"{figures.agreement:.1%}" if candidate.criteria and candidate.criteria.agreement else "",
        f"{figures.cosine:.5f} (worst {figures.worst_cosine:.5f})",
        f"{figures.batch_difference:.1e}",
        speeds,
    )


def _fields(candidate: Candidate) -> dict[str, Any]:
    return {"figures": candidate.figures, "speeds": candidate.speeds}


def _measured(candidate: Candidate) -> str:
    return f"measured at {' and '.join(str(speed.length) for speed in candidate.speeds)} tokens on this machine"


COLUMNS: Final = Columns(
    ("difference", "same label", "cosine", "batch difference", "length: ms, rows/s"), _cells, _fields, _measured
)
