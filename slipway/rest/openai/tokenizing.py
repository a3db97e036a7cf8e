"""The tokenizers of served models, for counting and for /tokenize: opened when first needed, kept while in use.

A tokenizer reads the whole text before it truncates, so a text that is certainly too long is cut off before; see
`runtime/text_encoder.py`. Calls that may take long are made in threads. Does not know the APIs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slipway.core.large_work import run_large
from slipway.errors import not_found, shown, unsupported

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_FILE: Final = "tokenizer.json"
_KEPT: Final = 16  # tokenizers; the vocabulary of a large one takes 100 MB
_AT_ONCE: Final = 4096  # characters, or ids, for the event loop: they take less than 1 ms
_FEW: Final = 16  # texts for the event loop
_PIECE: Final = 64  # texts tokenized in one call
_SPARE: Final = 64  # tokens: those next to the cut may differ
_MOST: Final = 1 << 20  # characters of a text if the model's length is not known

Key = tuple[Path, int, int, int]
Text = str | tuple[str, str]  # a text, or a pair of texts that a model reads together


class TextTokenizer:
    """One tokenizer without truncation and padding. `max_tokens` is the longest text of its model, special tokens
    included; 0 if that is not known."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        truncation = tokenizer.truncation
        truncated = int(truncation["max_length"]) if truncation else 0
        self.max_tokens = max_tokens or truncated
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        longest = max(map(len, tokenizer.get_vocab()), default=1)
        self.most = (max(self.max_tokens, truncated) + _SPARE) * longest if self.max_tokens else _MOST
        self.before, self.after = self._special()
        self._keeps_end = truncation is not None and truncation["direction"] == "left"

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return int(self._tokenizer.get_vocab_size())

    async def count(self, texts: Sequence[Text]) -> list[int]:
        """Return the number of tokens of each text, special tokens included; for a text of which the model reads only
        the beginning, at least one more than it reads."""
        if _are_few(texts):
            return self._count(texts)
        counts: list[int] = []
        for start in range(0, len(texts), _PIECE):
            counts += await run_large(self._count, texts[start : start + _PIECE])
        return counts

    async def encode(self, texts: Sequence[Text], *, special: bool = True) -> list[Encoding]:
        """Return the whole encoding of each text, with or without special tokens."""
        if _are_few(texts):
            return self._encode(texts, special)
        encodings: list[Encoding] = []
        for start in range(0, len(texts), _PIECE):
            encodings += await run_large(self._encode, texts[start : start + _PIECE], special)
        return encodings

    async def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """Return the text of token ids, which must be in the vocabulary."""
        (text,) = await self.decode_all([ids], skip_special=skip_special)
        return text

    async def decode_all(self, arrays: Sequence[Sequence[int]], *, skip_special: bool = False) -> list[str]:
        """Return the text of each array of token ids."""
        if sum(map(len, arrays)) <= _AT_ONCE:
            return self._decode(arrays, skip_special)
        return await run_large(self._decode, arrays, skip_special)

    def token(self, identifier: int) -> str:
        """Return the token with an id as the vocabulary writes it, "" if there is none."""
        return self._tokenizer.id_to_token(identifier) or ""

    def _decode(self, arrays: Sequence[Sequence[int]], skip_special: bool) -> list[str]:
        return [str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)) for ids in arrays]

    def _count(self, texts: Sequence[Text]) -> list[int]:
        return [len(each.ids) for each in self._encode(self.cut(texts), True)]

    def _encode(self, texts: Sequence[Text], special: bool) -> list[Encoding]:
        # Unlike `encode`, it releases the interpreter lock.
        return list(self._tokenizer.encode_batch(list(texts), add_special_tokens=special))

    def cut(self, texts: Sequence[Text]) -> list[Text]:
        """Return the texts without what the model certainly does not read. A long text that is in many pairs is cut
        once, and what remains is shared."""
        shortened: dict[str, str] = {}

        def cut(text: str) -> str:
            if len(text) <= self.most:
                return text
            if text not in shortened:
                shortened[text] = text[-self.most :] if self._keeps_end else text[: self.most]
            return shortened[text]

        return [cut(text) if isinstance(text, str) else (cut(text[0]), cut(text[1])) for text in texts]

    def _special(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the special tokens before and after a text."""
        encoding = self._tokenizer.encode("a")
        ids, mask = encoding.ids, encoding.special_tokens_mask
        first = mask.index(0) if 0 in mask else len(ids)
        last = len(ids) - mask[::-1].index(0) if 0 in mask else len(ids)
        return tuple(ids[:first]), tuple(ids[last:])


def _are_few(texts: Sequence[Text]) -> bool:
    return len(texts) <= _FEW and sum(map(length_of, texts)) <= _AT_ONCE


def length_of(text: Text) -> int:
    """Return the number of characters."""
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


class Tokenizers:
    """The tokenizers that were used last, each opened once."""

    def __init__(self) -> None:
        self._opened: OrderedDict[Key, asyncio.Future[TextTokenizer]] = OrderedDict()

    async def open(self, directory: Path, max_tokens: int = 0) -> TextTokenizer:
        """Return the tokenizer in a version directory; raise NOT_FOUND if there is none, or UNSUPPORTED if it
        cannot be read."""
        file = directory / _FILE
        try:
            status = file.stat()
        except OSError:
            raise not_found("the model's files do not include tokenizer.json, so its tokens are not known") from None
        key = (file, status.st_mtime_ns, status.st_size, max_tokens)
        opening = self._opened.get(key)
        if opening is None:
            opening = self._opened[key] = asyncio.ensure_future(asyncio.to_thread(_open, file, max_tokens))
            opening.add_done_callback(partial(self._drop_failed, key))
            if len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(key)
        try:
            return await asyncio.shield(opening)
        except ValueError as error:
            raise unsupported(f"the model's tokenizer.json cannot be read: {shown(error)}") from error

    def _drop_failed(self, key: Key, opening: asyncio.Future[TextTokenizer]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._opened.pop(key, None)


def _open(file: Path, max_tokens: int) -> TextTokenizer:
    """Open a tokenizer; raise ValueError if it is not one."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # its Rust core raises plain exceptions
        raise ValueError(str(error)) from error
    return TextTokenizer(tokenizer, max_tokens)
