"""The version in a request: text from the client, read like C's `stol`, which tritonserver uses."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from slipway.errors import SlipwayError, invalid, shown

_LEADING_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]+)")
_MAX_REMEMBERED: Final = 32  # characters; the cache must not keep what a client makes up
_MAX_DIGITS: Final = 64  # leading zeros count too; a longer number is refused because it would be slow to read
_INT64: Final = range(-(1 << 63), 1 << 63)


def parse_version(text: str) -> int:
    """Return the version number in `text`; raise `SlipwayError` (INVALID_ARG) with Triton's text.

    White space before the number and anything after it are ignored.
    """
    return _remembered(text) if len(text) <= _MAX_REMEMBERED else _parse(text)


def _parse(text: str) -> int:
    match = _LEADING_INTEGER.match(text)
    digits = match[1] if match else ""
    if not 0 < len(digits) <= _MAX_DIGITS or int(digits) not in _INT64:
        raise _refusal(f"failed to get model version from specified version string '{shown(text)}' (details: stol),")
    if int(digits) < 0:
        raise _refusal(f"invalid model version specified '{shown(text)}' ,")
    return int(digits)


_remembered: Final = lru_cache(maxsize=1024)(_parse)


def requested_version(text: str) -> str:
    """Return the requested version in canonical form, or "" for the latest; raise `SlipwayError` (INVALID_ARG)."""
    return str(parse_version(text)) if text else ""


def _refusal(message: str) -> SlipwayError:
    return invalid(f"{message} version should be an integral value > 0")
