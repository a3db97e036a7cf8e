"""Finds calls of tools in a text that arrives in pieces.

Pure; the borders of the pieces do not change the result. A call is passed on when it is complete: until then it may
turn out to be text, and what is malformed, or calls a function that the request does not have, stays text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from slipway.chat.call_syntax import ToolCall
from slipway.chat.tool_formats import ToolFormat
from slipway.runtime.stop_scanner import overlap

_LONGEST: Final = 1 << 20  # characters between the marks
_BARE: Final = ('"name"', '"type"', '"parameters"', '"arguments"')
_SHOWN: Final = max(map(len, _BARE))  # characters after the bracket by which a call without a mark is known
_OPENING: Final = re.compile(r"\{\s*")

Item = str | ToolCall


class ToolCallReader:
    """The calls in one text. `names` are the functions of the request; calls beyond `most` are dropped, None for all
    of them."""

    def __init__(self, form: ToolFormat, names: Collection[str], most: int | None = None) -> None:
        self._form = form
        self._names = names
        self._most = most
        self._count = 0
        self._found: list[Item] = []
        self._blank = ""  # at the end of the content: dropped before a call
        self._held = ""  # content that may be the beginning of a mark
        self._begins = form.bare  # nothing but blanks has come yet
        self._inside = False
        self._mark = ""  # what the calls began with
        self._body: list[str] = []
        self._length = 0  # of the body
        self._tail = ""  # the end of the body, which may be the beginning of a mark

    def push(self, piece: str) -> list[Item]:
        """Return the content and calls that `piece` completes, in order."""
        while piece:
            piece = self._within(piece) if self._inside else self._outside(piece)
        return self._taken()

    def rest(self) -> list[Item]:
        """Return what was held back: the text has ended."""
        if self._inside:
            self._finish("")
        held, self._held = self._held, ""
        self._content(held)
        if not self._count and self._blank:
            self._found.append(self._blank)
        self._blank = ""
        return self._taken()

    def _taken(self) -> list[Item]:
        found, self._found = self._found, []
        return found

    def _outside(self, piece: str) -> str:
        """Read a piece of content; return what follows a mark."""
        text, self._held = self._held + piece, ""
        if self._begins:
            if self._is_bare(text):
                return self._enter("", text)
            if self._held:
                return ""
        mark = self._form.start
        place = text.find(mark)
        if place >= 0:
            self._content(text[:place])
            return self._enter(mark, text[place + len(mark) :])
        kept = overlap(text, mark)
        self._held = text[len(text) - kept :]
        self._content(text[: len(text) - kept])
        return ""

    def _is_bare(self, text: str) -> bool:
        """Return whether the whole text begins like a call; hold it back while that is not known."""
        begun = text.lstrip()
        opened = _OPENING.match(begun)
        after = begun[opened.end() :] if opened else ""
        if not begun or (opened and len(after) < _SHOWN and any(each.startswith(after) for each in _BARE)):
            self._held = text
            return False
        self._begins = False
        return opened is not None and after.startswith(_BARE)

    def _enter(self, mark: str, following: str) -> str:
        self._inside, self._mark, self._begins = True, mark, False
        self._body, self._tail, self._length = [], "", 0
        return following

    def _within(self, piece: str) -> str:
        """Read a piece of calls; return what follows the mark after them."""
        form = self._form
        window = self._tail + piece
        ends = [mark for mark in (form.end, form.start if form.repeats else "") if mark and mark in window]
        if not ends:
            self._body.append(piece)
            self._length += len(piece)
            longest = max(len(form.end), len(form.start) if form.repeats else 0)
            self._tail = window[max(0, len(window) - longest + 1) :] if longest else ""
            if self._length > _LONGEST:
                self._finish("")
            return ""
        mark = min(ends, key=window.find)
        place = window.find(mark)
        body = "".join([*self._body, piece])
        self._body = [body[: len(body) - len(window) + place]]
        following = window[place + len(mark) :]
        if mark == form.end:
            self._finish(mark)
            return following
        self._finish("")
        return self._enter(mark, following)

    def _finish(self, end: str) -> None:
        """Pass on the calls that have ended, or their text if it is not a call."""
        body = "".join(self._body)
        self._inside, self._body, self._tail, self._length = False, [], "", 0
        try:
            calls = self._form.read(body) if len(body) <= _LONGEST else []
        except ValueError:
            calls = []
        if not calls or any(call.name not in self._names for call in calls):
            self._content(self._mark + body + end)
            return
        self._blank = ""
        self._count += len(calls)
        room = len(calls) if self._most is None else max(0, self._most - self._count + len(calls))
        self._found += calls[:room]

    def _content(self, text: str) -> None:
        text = self._blank + text
        kept = text.rstrip()
        self._blank = text[len(kept) :]
        if kept:
            self._found.append(kept)
