"""Every intended difference from the reference server, in one place, each with its reason.

A key is a pattern over case ids (`fnmatch`), `http:` or `grpc:` before it. The comparison fails for a difference that
is not listed, and for a listed one that no longer exists.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

DIFFERENCES: dict[str, str] = {}


def reason(case: str) -> str | None:
    """Return why `case` may differ, or None."""
    return next((why for pattern, why in DIFFERENCES.items() if fnmatchcase(case, pattern)), None)
