"""`python -m benchmarks [SECTION ...] --against DIRECTORY`: compare this checkout with another one in the same run.

A turn of a section is a child process that runs the benchmarks of this checkout on the Slipway of one of the two. Its
path starts with a folder that links to these benchmarks, followed by that checkout. Turns alternate, and so does the
order within a pair, so that a slow minute of the machine affects both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.reference import CannotRunError
from benchmarks.report import Row, aligned, figure, from_json

HERE: Final = Path(__file__).resolve().parent
TOLERANCE: Final = 0.03
_HEADER: Final = ("measured", "this", "other", "unit", "ratio", "spread", "")


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of both checkouts, one value per turn. `higher` is whether higher is better; None if neither is."""

    name: str
    unit: str
    higher: bool | None
    this: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratio(self) -> float | None:
        """The median of this checkout divided by that of the other one, if both are positive."""
        this, other = median(self.this), median(self.other)
        return this / other if this > 0 and other > 0 else None

    @property
    def spread(self) -> float:
        """The wider range of values of the two checkouts, as a share of the median: the uncertainty of the ratio."""
        return max((max(values) - min(values)) / (abs(median(values)) or 1.0) for values in (self.this, self.other))

    @property
    def verdict(self) -> str:
        """Return "worse" if the median is worse by more than the tolerance and every turn is worse, "unclear" if only
        the median is, and "" otherwise."""
        if self.ratio is None or self.higher is None:
            return ""
        gain = self.ratio if self.higher else 1 / self.ratio
        if gain >= 1 - TOLERANCE:
            return ""
        apart = max(self.this) < min(self.other) if self.higher else min(self.this) > max(self.other)
        return "worse" if apart else "unclear"

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the printed row."""
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        values = (figure(median(values)) for values in (self.this, self.other))
        return (self.name, *values, self.unit, ratio, f"{100 * self.spread:.1f} %", self.verdict)


def paired(this: Sequence[Iterable[Row]], other: Sequence[Iterable[Row]]) -> list[Compared]:
    """Return the figures that occur in every turn of both checkouts, in the order of this checkout."""
    values = [_by_name(turns) for turns in (this, other)]
    turns = len(this)
    return [
        Compared(name, rows[0].unit, rows[0].higher, _values(rows), _values(values[1][name]))
        for name, rows in values[0].items()
        if len(rows) == turns == len(values[1].get(name, ()))
    ]


def unpaired(this: Sequence[Iterable[Row]], other: Sequence[Iterable[Row]]) -> list[str]:
    """Return the names of figures that some turns lack, since a name may include the result of a conversion."""
    common = {each.name for each in paired(this, other)}
    return [name for name in _by_name([*this, *other]) if name not in common]


def _by_name(turns: Iterable[Iterable[Row]]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for rows in turns:
        for row in rows:
            found.setdefault(row.name, []).append(row)
    return found


def _values(rows: Iterable[Row]) -> tuple[float, ...]:
    return tuple(row.value for row in rows)


def compare(sections: Iterable[str], against: Path, turns: int) -> bool:
    """Run the sections and print a table for each; return whether a figure of this checkout is worse."""
    trees = {"this": HERE.parent, "other": against.resolve()}
    if not (trees["other"] / "slipway" / "__init__.py").is_file():
        raise CannotRunError(f"{against} is not a checkout of Slipway")
    worse = False
    for section in sections:
        print(f"== {section}, {turns} turns per checkout, against {trees['other']}", flush=True)
        rows = _turns(section, trees, turns)
        compared = paired(**rows)
        print(aligned([_HEADER, *(each.cells() for each in compared)]), flush=True)
        if missing := unpaired(**rows):
            print(f"   not compared, because missing in some turns: {'; '.join(missing)}", flush=True)
        worse |= any(each.verdict == "worse" for each in compared)
    return worse


def _turns(section: str, trees: Mapping[str, Path], turns: int) -> dict[str, list[list[Row]]]:
    found: dict[str, list[list[Row]]] = {name: [] for name in trees}
    for turn in range(turns):
        for name in list(trees)[:: 1 if turn % 2 == 0 else -1]:
            started = time.monotonic()
            found[name].append(_turn(section, trees[name]))
            print(f"   turn {turn + 1}, {name}: {time.monotonic() - started:.0f} s", flush=True)
    return found


def _turn(section: str, tree: Path) -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "benchmarks").symlink_to(HERE)
        file = Path(scratch) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.turn", section, file, tree]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([scratch, str(tree)])}
        done = subprocess.run(command, cwd=scratch, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRunError(f"{section} on {tree}: {done.stderr.strip()[-2000:]}")
        return from_json(file.read_text())
