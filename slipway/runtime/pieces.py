"""Turn a growing sequence of tokens into pieces of text with whole characters.

A token may be only part of a character, and a tokenizer may decode a token differently once the next one is known;
such tokens wait for the next one, and so do spaces that the next text may remove. A tokenizer with tokens for bytes
(Llama) makes replacement characters of a whole run of bytes if any of them is not part of a character: what has been
sent before that stays as it is. Depends only on the `tokenizers`
library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_HALF = "\N{REPLACEMENT CHARACTER}"
# The spaces that `clean_up_tokenization_spaces` of transformers removes, in its order.
APART = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_KEPT = 8  # tokens decoded again with each new one; longer words only delay their pieces


def clean_up(text: str) -> str:
    """Return a text without the spaces that a tokenizer puts before punctuation and contractions."""
    for apart in APART:
        text = text.replace(apart, apart.strip())
    return text


class TextPieces:
    """The text of one sequence: its joined pieces equal the text of all its tokens, cleaned up if `cleaned` is set.

    They differ only where characters become replacement characters after they have been sent.
    """

    def __init__(self, tokenizer: Tokenizer, *, cleaned: bool = False) -> None:
        self._tokenizer = tokenizer
        self._cleaned = cleaned
        self._waiting = ""  # text whose spaces may still be removed
        self._ids: list[int] = []
        self._sent = ""
        self._start = 0  # tokens before it are no longer decoded
        self._before = ""  # the text since `_start` that has been sent

    def push(self, token: int) -> str:
        """Return the text that `token` completes, "" if it is part of a character or a special token."""
        self._ids.append(token)
        text = self._decode(self._ids[self._start :])
        if text.endswith(_HALF) or len(text) <= len(self._before):
            return ""
        piece = self._settled(text[len(self._before) :])
        self._sent += piece
        self._before = text
        if len(self._ids) - self._start > 2 * _KEPT:
            self._move()
        return piece

    def rest(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, the whole sequence, that has not been returned yet."""
        text = self._decode(ids)
        return (clean_up(text) if self._cleaned else text)[len(self._sent) :]

    def _settled(self, piece: str) -> str:
        """Return the part of the text that later tokens cannot change, and keep the rest."""
        if not self._cleaned:
            return piece
        text = self._waiting + piece
        end = len(text)
        while (blank := text.rfind(" ", 0, end)) >= 0 and _may_go(text, blank):
            end = blank
        settled, self._waiting = text[:end], text[end:]
        return clean_up(settled)

    def _move(self) -> None:
        """Decode fewer tokens from now on, if the last ones decode to the same text on their own."""
        tail = self._decode(self._ids[-_KEPT:])
        if tail and self._before.endswith(tail):
            self._start, self._before = len(self._ids) - _KEPT, tail

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


def _may_go(text: str, blank: int) -> bool:
    """Return whether the space may be part of an entry of `APART`: at its start, or after a quotation mark."""
    return text[blank + 1 : blank + 2] in ("", " ", ".", "?", "!", ",", "'", "n") or text[:blank].endswith("'")
