"""Stop texts in a text that arrives in pieces, as OpenAI's API has them: the text ends before the first one, or after
it if it is `included`.

What may be the beginning of a stop text is held back until it is known. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Releases the text that certainly comes before every stop text, and with `included` the first one too; the pieces'
    borders do not change the result."""

    def __init__(self, stops: Sequence[str], *, included: bool = False) -> None:
        self._included = included
        self._stops = tuple(filter(None, stops))
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """Return the text that `piece` releases; after the first complete stop text, nothing any more."""
        if self.stopped or not self._stops:
            return "" if self.stopped else piece
        text = self._held + piece
        ends = [(found + len(stop), found) for stop in self._stops if (found := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)[0 if self._included else 1]]
        kept = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """Return what was held back: the text has ended without a stop text."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    place = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while place >= 0 and not stop.startswith(text[place:]):
        place = text.find(stop[0], place + 1)
    return 0 if place < 0 else len(text) - place
