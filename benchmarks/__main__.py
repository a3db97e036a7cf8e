"""Run benchmark sections, print tables with ratios and verdicts, save dated results in benchmarks/results/SECTION."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.compare import compare
from benchmarks.reference import CannotRunError
from benchmarks.report import Row, kept, save, table
from benchmarks.sections import ON_REQUEST, SECTIONS
from benchmarks.serving import ServerFailedError


def parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        choices=[[], *SECTIONS, *ON_REQUEST],
        help=f"{', '.join([*SECTIONS, *ON_REQUEST])} (default: all but the last)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--judge", action="store_true", help="judge the saved results without measuring")
    how.add_argument("--no-save", action="store_true", help="do not save the results")
    how.add_argument(
        "--against",
        metavar="DIRECTORY",
        type=Path,
        help="compare this checkout with another one in alternating turns, without saving",
    )
    parser.add_argument("--turns", type=int, default=5, help="turns per checkout with --against (default: 5)")
    return parser.parse_args()


def main() -> int:
    """Return 1 if a target was missed, a figure is worse than in the other checkout, or a section could not run."""
    given = parse()
    sections = given.sections or list(SECTIONS)
    if given.judge:
        return int(judge(sections))
    if given.against is not None:
        try:
            return int(compare(sections, given.against, given.turns))
        except CannotRunError as error:
            print(f"cannot compare: {error}")
            return 1
    return int(measure(sections, keep=not given.no_save))


def measure(sections: Iterable[str], *, keep: bool) -> bool:
    """Run the sections; return whether one could not run or missed a target."""
    failed = False
    for name in sections:
        print(f"== {name}", flush=True)
        try:
            rows = {**SECTIONS, **ON_REQUEST}[name]()
        except (CannotRunError, ServerFailedError) as error:
            print(f"cannot run: {error}")
            failed = True
            continue
        print(table(rows), flush=True)
        if keep:
            print(f"saved in {save(name, rows)}", flush=True)
        failed |= missed(rows)
    return failed


def judge(sections: Iterable[str]) -> bool:
    """Print the saved results; return whether a target was missed or a section has no saved result."""
    failed = False
    for name in sections:
        found = kept(name)
        if found is None:
            print(f"== {name}\nno saved result")
            failed = True
            continue
        date, rows = found
        print(f"== {name}, {date}\n{table(rows)}")
        failed |= missed(rows)
    return failed


def missed(rows: Iterable[Row]) -> bool:
    """Return whether a target was missed."""
    return any(row.verdict == "missed" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
