"""A long text is cut before it is tokenized, and gets the tokens that it would have had."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from slipway.errors import SlipwayError
from slipway.runtime import TextEncoder

WORDS = ["hello", "world", "of", "ships"]


def tokenizer(limit: int | None, direction: str = "right") -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate([*WORDS, "[UNK]"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if limit is not None:
        made.enable_truncation(limit, direction=direction)
    return made


class Watched:
    """A tokenizer that records what it is given."""

    def __init__(self, inner: Tokenizer) -> None:
        self._inner = inner
        self.given: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def encode_batch(self, texts: list[str]) -> object:
        self.given += texts
        return self._inner.encode_batch(texts)


@pytest.mark.parametrize("direction", ["left", "right"])
def test_a_long_text_is_cut_and_keeps_its_tokens(direction):
    text = " ".join(WORDS * 5000)
    watched = Watched(tokenizer(16, direction))
    assert TextEncoder(watched).encode(text).ids == tokenizer(16, direction).encode(text).ids
    assert len(watched.given[0]) == (16 + 64) * len("hello")


def test_a_short_text_is_not_cut():
    watched = Watched(tokenizer(16))
    assert TextEncoder(watched).encode("hello ships").ids == [0, 3]
    assert watched.given == ["hello ships"]


def test_without_truncation_a_text_has_a_limit():
    encoder = TextEncoder(tokenizer(None))
    assert len(encoder.encode("hello " * 1000).ids) == 1000
    with pytest.raises(SlipwayError, match="the text has 1048577 characters, but at most 1048576 are tokenized"):
        encoder.encode("x" * (2**20 + 1))
