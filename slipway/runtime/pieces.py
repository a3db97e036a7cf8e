"""Turn a growing sequence of tokens into pieces of text with whole characters.

A token may be only part of a character, and a tokenizer may decode a token differently once the next one is known;
such tokens wait for the next one, and so do spaces that the next text may remove. A tokenizer with tokens for bytes
(Llama) makes replacement characters of a whole run of bytes if any of them is not part of a character, so a run is
known at its end. Depends only on the `tokenizers` library.
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
_MOST_BYTES = 4  # of a character in UTF-8
_BYTE_LENGTH = 6  # characters of a token such as <0x0A>


def clean_up(text: str) -> str:
    """Return a text without the spaces that a tokenizer puts before punctuation and contractions."""
    for apart in APART:
        text = text.replace(apart, apart.strip())
    return text


class TextPieces:
    """The text of one sequence: its joined pieces equal the text of all its tokens, cleaned up if `cleaned` is set.
    Special tokens are left out, except those with the texts in `kept`."""

    def __init__(self, tokenizer: Tokenizer, *, cleaned: bool = False, kept: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._cleaned = cleaned
        self._omitted = _special_ids(tokenizer, kept) if kept else None  # None: as the tokenizer does it itself
        self._waiting = ""  # text whose spaces may still be removed
        self._ids: list[int] = []
        self._sent = ""
        self._start = 0  # tokens before it are no longer decoded
        self._before = ""  # the text since `_start` that has been sent
        self._open = ""  # replacement characters before text that is not known yet
        self._in_bytes = False  # the last tokens are single bytes

    def push(self, token: int) -> str:
        """Return the text that `token` completes, "" if it is part of a character or a special token."""
        self._ids.append(token)
        if self._goes_on(token):
            return ""
        text = self._decode(self._ids[self._start :])
        known = text.removesuffix(_HALF)
        if len(known) < len(self._before):
            return ""
        piece = self._open + known[len(self._before) :]
        self._before, self._open = known, piece[len(piece.rstrip(_HALF)) :]
        piece = self._settled(piece.rstrip(_HALF))
        self._sent += piece
        if len(self._ids) - self._start > 2 * _KEPT:
            self._move(text)
        return piece

    def _goes_on(self, token: int) -> bool:
        """Return whether the token belongs to a run of single bytes: one that is not UTF-8 as a whole becomes as many
        replacement characters as it has bytes, so nothing of it is known before its end."""
        name = self._tokenizer.id_to_token(token) or ""
        if len(name) == _BYTE_LENGTH and name.startswith("<0x") and name.endswith(">"):
            self._in_bytes = True
        elif self._in_bytes:  # tokens without a text do not end it
            self._in_bytes = not self._decode([token])
        return self._in_bytes

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

    def _move(self, text: str) -> None:
        """Decode fewer tokens from now on, if the last ones decode to the end of the text on their own. As it has no
        fewer characters than a character has bytes, what is still open at its end is in it."""
        tail = self._decode(self._ids[-_KEPT:])
        if len(tail) >= _MOST_BYTES and text.endswith(tail):
            self._start = len(self._ids) - _KEPT
            self._before = tail.removesuffix(_HALF)

    def _decode(self, ids: Sequence[int]) -> str:
        if self._omitted is None:
            return self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return self._tokenizer.decode([each for each in ids if each not in self._omitted], skip_special_tokens=False)


def _special_ids(tokenizer: Tokenizer, kept: Sequence[str]) -> frozenset[int]:
    """Return the special tokens that are left out of texts."""
    tokens = tokenizer.get_added_tokens_decoder().items()
    return frozenset(number for number, token in tokens if token.special and token.content not in kept)


def _may_go(text: str, blank: int) -> bool:
    """Return whether the space may be part of an entry of `APART`: at its start, or after a quotation mark."""
    return text[blank + 1 : blank + 2] in ("", " ", ".", "?", "!", ",", "'", "n") or text[:blank].endswith("'")
