"""Encode a text of any length in bounded time and memory, without holding the interpreter lock.

A tokenizer reads the whole text before it truncates: 13 s for 60 MB of which 512 tokens remain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slipway.errors import invalid

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_MOST: Final = 1 << 20  # characters of a text for a tokenizer that does not truncate
_SPARE: Final = 64  # tokens: those next to the cut may differ, and must not be among the ones that are kept


class TextEncoder:
    """Encodes texts with one tokenizer; what is certainly truncated is cut off before.

    A token stands for at most as many characters as the longest one of the vocabulary has. Only a text in which the
    tokenizer's normalizer drops more characters than that, such as pages of spaces, gets fewer tokens than it could.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        truncation = tokenizer.truncation
        self._keeps_end = truncation is not None and truncation["direction"] == "left"
        longest = max(map(len, tokenizer.get_vocab()), default=1)
        self.most = None if truncation is None else (truncation["max_length"] + _SPARE) * longest

    def encode(self, text: str) -> Encoding:
        """Return the encoding; raise INVALID_ARG if the text is too long for a tokenizer that does not truncate."""
        if self.most is None:
            if len(text) > _MOST:
                raise invalid(f"the text has {len(text)} characters, but at most {_MOST} are tokenized")
        elif len(text) > self.most:
            text = text[-self.most :] if self._keeps_end else text[: self.most]
        return self._tokenizer.encode_batch([text])[0]  # unlike `encode`, it releases the interpreter lock
