"""Texts that end a generation as `stop_strings` of transformers do: as soon as one ends inside the last token.

A text may begin and end inside a token, and a token may be part of a character, so bytes are compared. Depends only on
the `tokenizers` library.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slipway.runtime.file_stamps import FileStamp, file_stamp

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BEFORE: Final = "abcdef"  # decoded before each token, because the first token of a text may lose a space
_BYTE_TOKEN: Final = ("<0x", ">")


def token_bytes(path: Path) -> TokenBytes:
    """Return the bytes of the tokens in the tokenizer.json at `path`."""
    return _read(path, file_stamp(path))


@lru_cache(maxsize=8)
def _read(path: Path, stamp: FileStamp) -> TokenBytes:  # noqa: ARG001  a file that has been replaced is read again
    from tokenizers import Tokenizer

    return TokenBytes(Tokenizer.from_file(str(path)))


class TokenBytes:
    """The bytes that each token adds to a text, computed when first needed."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}
        self._base = tokenizer.encode(_BEFORE, add_special_tokens=False).tokens
        kinds = _kinds(json.loads(tokenizer.to_str())["decoder"])
        self._in_tokens = "ByteFallback" in kinds  # such as <0x0A>
        self._letters = _byte_letters() if "ByteLevel" in kinds and not self._in_tokens else {}

    def of(self, token: int) -> bytes:
        """Return the bytes of one token, b"" for an id without a token."""
        found = self._known.get(token)
        if found is None:
            found = self._known[token] = self._decode(self._tokenizer.id_to_token(token))
        return found

    def encoded(self, text: str) -> list[int]:
        """Return the tokens of a text as the tokenizer splits it, which may have a space more at the beginning."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    @property
    def special(self) -> frozenset[int]:
        """The tokens that are not part of any text."""
        return frozenset(token for token, added in self._tokenizer.get_added_tokens_decoder().items() if added.special)

    @property
    def loses_first_space(self) -> bool:
        """Whether the text of a sequence lacks the space with which its first token begins."""
        word = next((token for token in range(self._tokenizer.get_vocab_size()) if _is_word(self.of(token))), None)
        return word is not None and not str(self._tokenizer.decode([word])).startswith(" ")

    def _decode(self, word: str | None) -> bytes:
        if not word:
            return b""
        if self._letters and all(letter in self._letters for letter in word):
            return bytes(self._letters[letter] for letter in word)
        if self._in_tokens and len(word) == 6 and word.startswith(_BYTE_TOKEN[0]) and word.endswith(_BYTE_TOKEN[1]):
            return bytes.fromhex(word[3:5])
        decoder: Any = self._tokenizer.decoder
        words = [*self._base, word]
        text = " ".join(words) if decoder is None else decoder.decode(words)
        return str(text).partition(_BEFORE)[2].encode()


@dataclass(frozen=True, slots=True)
class StopTextsOfRow:
    """Implements `generation.StopTexts`: the texts of one row, which may begin in its prompt."""

    texts: tuple[bytes, ...]
    tokens: TokenBytes = field(compare=False)
    prompt: tuple[int, ...] = ()

    def met(self, ids: Sequence[int]) -> bool:
        """Return whether the last of the generated `ids` completes one of the texts."""
        last = self.tokens.of(ids[-1])
        tail = self._tail(ids, max(map(len, self.texts), default=0) + len(last))
        before = len(tail) - len(last)
        return any(tail.find(text, max(0, before - len(text) + 1)) >= 0 for text in self.texts if last)

    def _tail(self, ids: Sequence[int], length: int) -> bytes:
        """Return the end of the text, at least `length` bytes or the whole text."""
        pieces: list[bytes] = []
        have = 0
        for token in (*reversed(ids), *reversed(self.prompt)):
            if have >= length:
                break
            pieces.append(self.tokens.of(token))
            have += len(pieces[-1])
        return b"".join(reversed(pieces))


def _is_word(token: bytes) -> bool:
    return token.startswith(b" ") and token[1:].isalpha()


def _kinds(decoder: Any) -> set[str]:
    """Return the kinds of all parts of a decoder."""
    if isinstance(decoder, list):
        return set().union(*map(_kinds, decoder))
    if isinstance(decoder, dict):
        return {str(decoder.get("type"))}.union(*map(_kinds, decoder.values()))
    return set()


def _byte_letters() -> dict[str, int]:
    """Return the byte of each letter in a byte-level vocabulary (GPT-2's table: visible characters are themselves, the
    others are numbered from 256)."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
