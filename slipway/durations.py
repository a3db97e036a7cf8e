"""Durations in words, for everything that shows how far it is."""

from __future__ import annotations


def time_left(seconds: float) -> str:
    """Return an estimate in words, "" below one second: about 40 s left, about 3 min left, about 2.5 h left."""
    if seconds < 1:
        return ""
    if seconds < 90:
        return f"about {seconds if seconds < 10 else 5 * round(seconds / 5):.0f} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"
