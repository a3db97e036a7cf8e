"""Whole numbers in the text of a configuration, where a file or a client decides how long the text is."""

from __future__ import annotations

from typing import Final

_MAX_DIGITS: Final = 19  # as many as 64 bits need


def whole_number(text: str) -> int | None:
    """Return the number that `text` writes in ASCII digits, None for anything else and for more than 19 digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None
