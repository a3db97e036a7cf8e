"""What the error about an unknown name suggests. Knows neither the names nor what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_LONGEST: Final = 256  # characters; clients send names too, and to compare 1 MiB with anything takes 0.1 s


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the nearest of the `known` names, or "; expected one of ..." with all."""
    names = tuple(known)
    close = get_close_matches(name, names, 1) if len(name) <= _LONGEST else []
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of {', '.join(names)}"
