"""`python -m benchmarks.turn SECTION FILE TREE`: run one section once and write its rows to FILE as JSON.

The child process of `compare.py`. TREE is the checkout from which Slipway must have been imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import slipway
from benchmarks.reference import CannotRunError
from benchmarks.report import to_json
from benchmarks.sections import TURNS
from benchmarks.serving import ServerFailedError


def main() -> int:
    """Run the section; return 1, with the reason on stderr, if it cannot run."""
    section, file, tree = sys.argv[1:]
    found = Path(slipway.__file__).resolve().parent.parent
    if found != Path(tree).resolve():
        print(f"slipway was imported from {found}, not from {tree}", file=sys.stderr)
        return 1
    try:
        rows = TURNS[section]()
    except (CannotRunError, ServerFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    Path(file).write_text(to_json(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
