"""Text that grows by tokens, in pieces that are whole characters.

A token may be a part of a character only, and a decoder may write a token differently once its neighbour is known;
such tokens wait for the next. Knows nothing but the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HALF = "\N{REPLACEMENT CHARACTER}"
_KEPT = 8  # tokens decoded again with each new one; words of more tokens only make pieces come later


class TextPieces:
    """The text of one sequence. The pieces joined are the text of all its tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._sent = ""
        self._start = 0  # tokens before it are decoded no more
        self._before = ""  # the text of those since `_start` that was sent

    def push(self, token: int) -> str:
        """Return the text that `token` completes, "" where it is half a character or a special token."""
        self._ids.append(token)
        text = self._decode(self._ids[self._start :])
        if text.endswith(_HALF) or not text.startswith(self._before):
            return ""
        piece = text[len(self._before) :]
        self._sent += piece
        self._before = text
        if len(self._ids) - self._start > 2 * _KEPT:
            self._move()
        return piece

    def rest(self, ids: Sequence[int]) -> str:
        """Return what is missing of the text of `ids`, the whole sequence."""
        return self._decode(ids)[len(self._sent) :]

    def _move(self) -> None:
        """Decode less from now on, where the tail decoded alone is the tail of the text."""
        tail = self._decode(self._ids[-_KEPT:])
        if tail and self._before.endswith(tail):
            self._start, self._before = len(self._ids) - _KEPT, tail

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)
