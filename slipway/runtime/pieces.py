"""Turn a growing sequence of tokens into pieces of text with whole characters.

A token may be only part of a character, and a tokenizer may decode a token differently once the next one is known;
such tokens wait for the next one. Depends only on the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HALF = "\N{REPLACEMENT CHARACTER}"
_KEPT = 8  # tokens decoded again with each new one; longer words only delay their pieces


class TextPieces:
    """The text of one sequence: its joined pieces equal the text of all its tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._sent = ""
        self._start = 0  # tokens before it are no longer decoded
        self._before = ""  # the text since `_start` that has been sent

    def push(self, token: int) -> str:
        """Return the text that `token` completes, "" if it is part of a character or a special token."""
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
        """Return the text of `ids`, the whole sequence, that has not been returned yet."""
        return self._decode(ids)[len(self._sent) :]

    def _move(self) -> None:
        """Decode fewer tokens from now on, if the last ones decode to the same text on their own."""
        tail = self._decode(self._ids[-_KEPT:])
        if tail and self._before.endswith(tail):
            self._start, self._before = len(self._ids) - _KEPT, tail

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)
