"""Rows of a benchmark: what was measured, against what, and the ratio that was promised."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slipway import __version__

RESULTS = Path(__file__).parent / "results"
_HIGHER = {"req/s", "tok/s", "seq/s", "/s"}
_LOWER = {"ms", "s", "MB"}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `ratio` is better when higher if `at_least` is set, when lower if `at_most` is."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Return value / reference, where there is a reference."""
        return None if self.reference is None else self.value / self.reference

    @property
    def higher(self) -> bool | None:
        """Whether a higher value is better, by the promise or the unit; None where neither says."""
        if self.at_least is not None or self.unit in _HIGHER:
            return True
        return False if self.at_most is not None or self.unit in _LOWER else None

    @property
    def verdict(self) -> str:
        """Return "met", "missed" or "" where nothing was promised."""
        measured = self.value if self.ratio is None else self.ratio
        if self.at_least is not None:
            return "met" if measured >= self.at_least else "missed"
        if self.at_most is not None:
            return "met" if measured <= self.at_most else "missed"
        return ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as it is printed."""
        reference = "" if self.reference is None else f"{self.reference:,.1f}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        bound = ""
        if self.at_least is not None:
            bound = f">= {self.at_least:g}"
        elif self.at_most is not None:
            bound = f"<= {self.at_most:g}"
        return (self.name, figure(self.value), self.unit, reference, ratio, bound, self.verdict)


def figure(value: float) -> str:
    """Return a measurement with one decimal, or three digits where that would hide it."""
    return f"{value:,.1f}" if value == 0 or abs(value) >= 1 else f"{value:.3g}"


HEADER = ("measured", "slipway", "unit", "reference", "ratio", "promised", "")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    return aligned([HEADER, *(row.cells() for row in rows)])


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Return lines of cells as text: the first is the head, the first column is flush left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join([first, *rest]).rstrip())
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    from slipway.cores import cpu_limit  # here: a checkout that is compared with may lack them
    from slipway.machine import processor_name

    return {
        "cpu": processor_name(),
        "cores": cpu_limit(),
        "python": sys.version.split()[0],
        "slipway": __version__,
    }


def save(section: str, rows: Sequence[Row], directory: Path = RESULTS) -> Path:
    """Write `<directory>/<section>/<date>.json`, in the place of the section's older result; return its path."""
    folder = directory / section
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y-%m-%d}.json"
    content = {
        "section": section,
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "machine": machine(),
        "rows": [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    for older in folder.glob("????-??-??.json"):
        if older != path:
            older.unlink()
    return path


def kept(section: str, directory: Path = RESULTS) -> tuple[str, list[Row]] | None:
    """Return the date and the rows of the newest result of a section, or None where none is kept."""
    path = max((directory / section).glob("????-??-??.json"), default=None)
    if path is None:
        return None
    content = json.loads(path.read_text())
    return content["date"], _rows(content["rows"])


def to_json(rows: Sequence[Row]) -> str:
    """Return rows as JSON, for `from_json`."""
    return json.dumps([asdict(row) for row in rows])


def from_json(text: str) -> list[Row]:
    """Return the rows that `to_json` wrote."""
    return _rows(json.loads(text))


def _rows(entries: Sequence[dict[str, Any]]) -> list[Row]:
    fields = {field.name for field in dataclasses.fields(Row)}
    return [Row(**{name: value for name, value in entry.items() if name in fields}) for entry in entries]
