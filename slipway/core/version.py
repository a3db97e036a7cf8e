"""The version that a request names: text as clients write it, read as C's `stol`, which tritonserver uses."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from slipway.errors import SlipwayError, invalid

_LEADING_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]+)")
_MOST_DIGITS: Final = 64  # more are out of range whatever they are, and slow to read; zeros in front count too
_INT64: Final = range(-(1 << 63), 1 << 63)


@lru_cache(maxsize=1024)
def parse_version(text: str) -> int:
    """Return the number that a request names; raise `SlipwayError` (INVALID_ARG) in Triton's words.

    Blanks before the number and anything after it are ignored.
    """
    match = _LEADING_INTEGER.match(text)
    digits = match[1] if match else ""
    if not 0 < len(digits) <= _MOST_DIGITS or int(digits) not in _INT64:
        shown = text[:_MOST_DIGITS]
        raise _refusal(f"failed to get model version from specified version string '{shown}' (details: stol),")
    if int(digits) < 0:
        raise _refusal(f"invalid model version specified '{text[:_MOST_DIGITS]}' ,")
    return int(digits)


def requested_version(text: str) -> str:
    """Return the version a request names in canonical form, "" for the latest; raise `SlipwayError` (INVALID_ARG)."""
    return str(parse_version(text)) if text else ""


def _refusal(message: str) -> SlipwayError:
    return invalid(f"{message} version should be an integral value > 0")
