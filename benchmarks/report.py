"""Rows of a benchmark: the measured value, its reference, and the target ratio."""

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
    """One comparison. A higher `ratio` is better if `at_least` is set, a lower one if `at_most` is set."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Return value / reference, or None without a reference."""
        return None if self.reference is None else self.value / self.reference

    @property
    def higher(self) -> bool | None:
        """Whether a higher value is better, from the target or the unit; None if neither decides."""
        if self.at_least is not None or self.unit in _HIGHER:
            return True
        return False if self.at_most is not None or self.unit in _LOWER else None

    @property
    def verdict(self) -> str:
        """Return "met" or "missed", or "" without a target."""
        measured = self.value if self.ratio is None else self.ratio
        if self.at_least is not None:
            return "met" if measured >= self.at_least else "missed"
        if self.at_most is not None:
            return "met" if measured <= self.at_most else "missed"
        return ""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the printed row."""
        reference = "" if self.reference is None else f"{self.reference:,.1f}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        bound = ""
        if self.at_least is not None:
            bound = f">= {self.at_least:g}"
        elif self.at_most is not None:
            bound = f"<= {self.at_most:g}"
        return (self.name, figure(self.value), self.unit, reference, ratio, bound, self.verdict)


def figure(value: float) -> str:
    """Return a measurement with one decimal, or with three digits if it is below 1."""
    return f"{value:,.1f}" if value == 0 or abs(value) >= 1 else f"{value:.3g}"


HEADER = ("measured", "slipway", "unit", "reference", "ratio", "target", "")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    return aligned([HEADER, *(row.cells() for row in rows)])


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Return lines of cells as text: the first line is the header, and the first column is left-aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join([first, *rest]).rstrip())
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def machine() -> dict[str, object]:
    """Return the machine and versions on which the figures depend."""
    from slipway.cores import cpu_limit  # imported here, because another checkout may lack it
    from slipway.machine import processor_name

    return {
        "cpu": processor_name(),
        "cores": cpu_limit(),
        "python": sys.version.split()[0],
        "slipway": __version__,
    }


def save(section: str, rows: Sequence[Row], directory: Path = RESULTS) -> Path:
    """Write `<directory>/<section>/<date>.json`, replacing the section's older result; return its path."""
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
    """Return the date and rows of the newest saved result of a section, or None if there is none."""
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
