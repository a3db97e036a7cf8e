"""Prints the share of lines that two files have in common, and the first that differ.

    python exact_match.py TRANSLATION REFERENCE [--at_least SHARE]

exits with code 1 if the share is lower than SHARE.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SHOWN = 5


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Print the share of lines that two files have in common.")
    parser.add_argument("translation", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--at_least", type=float, default=0.0)
    options = parser.parse_args()
    found, wanted = (path.read_text(encoding="utf-8").split("\n") for path in (options.translation, options.reference))
    if len(found) != len(wanted):
        raise SystemExit(f"error: {len(found) - 1} lines were translated, the reference has {len(wanted) - 1}")
    pairs = list(zip(found, wanted, strict=True))[:-1]  # what follows the last line end is no line
    different = [(one, other) for one, other in pairs if one != other]
    share = 1 - len(different) / len(pairs)
    print(f"exact match: {share:.2%} of {len(pairs)} lines")
    for one, other in different[:SHOWN]:
        print(f"  {one}\n  instead of {other}")
    return int(share < options.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
