"""How the report shows candidates whose outputs are tensors."""

from __future__ import annotations

from typing import Any, Final

from slipway.convert.candidates.gate import Figures
from slipway.convert.report import Candidate, Columns
from slipway.convert.thresholds import Thresholds


def _cells(candidate: Candidate) -> tuple[str, ...]:
    speeds = "; ".join(
        f"{speed.length}: {speed.latency_ms:.1f} ms, {speed.rows_per_second:.0f}/s" for speed in candidate.speeds
    )
    figures: Figures | None = candidate.figures
    if figures is None:
        return "", "", "", "", speeds
    return (
        f"{figures.difference:.1e}",
        f"{figures.agreement:.1%}" if candidate.criteria and candidate.criteria.agreement and figures.results else "",
        f"{figures.cosine:.5f} (worst {figures.worst_cosine:.5f})",
        f"{figures.batch_difference:.1e}",
        speeds,
    )


def _fields(candidate: Candidate) -> dict[str, Any]:
    return {"figures": candidate.figures, "speeds": candidate.speeds}


def _measured(candidate: Candidate) -> str:
    sizes = " and ".join(str(speed.length) for speed in candidate.speeds)
    unit = candidate.speeds[0].unit if candidate.speeds else "tokens"
    return f"measured at {sizes} {unit} on this machine"


def _lost(candidate: Candidate) -> str:
    """Describe what a reduced precision lost on the gate's rows; "" for FP32, which differs only by rounding."""
    figures: Figures | None = candidate.figures
    if figures is None or candidate.variant.precision == "fp32":
        return ""
    criteria = candidate.criteria or Thresholds()
    worst = f", {figures.worst_cosine:.4f} on the worst row ({figures.worst_row})" if figures.worst_row else ""
    return "; ".join(
        [
            *([_kept(figures)] if criteria.agreement and figures.results else []),
            *(
                [f"{figures.neighbours:.1%} of {figures.texts} sample {figures.sampled} keep their nearest neighbour"]
                if criteria.neighbours and figures.texts
                else []
            ),
            f"cosine to the source {figures.cosine:.4f}{worst}",
        ]
    )


def _kept(figures: Figures) -> str:
    things = "objects are found" if figures.matched else "rows keep their label"
    return f"{figures.agreement:.1%} of {figures.results if figures.matched else figures.rows} {things}"


COLUMNS: Final = Columns(
    ("difference", "same label", "cosine", "batch difference", "length: ms, rows/s"), _cells, _fields, _measured, _lost
)
