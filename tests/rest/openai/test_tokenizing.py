"""The tokenizers of served models: opened once, opened again when their file changes, and never asked for too much."""

from __future__ import annotations

import asyncio
import os

import pytest
from tokenizers import Tokenizer

from slipway.errors import Code, SlipwayError
from slipway.rest.openai.tokenizing import TextTokenizer, Tokenizers
from tests.rest.openai.conftest import LONGEST, WORDS, write_tokenizer


def opened(directory, tokenizers: Tokenizers | None = None, **settings: int) -> TextTokenizer:
    return asyncio.run((tokenizers or Tokenizers()).open(directory, **settings))


def test_special_tokens_and_the_longest_text_are_those_of_the_file(tokenizer):
    found = opened(tokenizer)
    assert (found.before, found.after) == ((1,), (2,))
    assert found.max_tokens == LONGEST
    assert found.vocabulary == len(WORDS)
    assert opened(tokenizer, max_tokens=5).max_tokens == 5


def test_texts_are_counted_alike_on_the_loop_and_in_threads(tokenizer):
    found = opened(tokenizer)
    texts = [f"{'cat ' * (place % 6)}dog" for place in range(700)]
    expected = [place % 6 + 3 for place in range(700)]
    assert asyncio.run(found.count(texts)) == expected
    assert [asyncio.run(found.count([text]))[0] for text in texts[:12]] == expected[:12]
    assert asyncio.run(found.count([("the cat", "dog")])) == [6]


def test_only_the_beginning_of_a_text_is_counted_that_is_certainly_too_long(tokenizer):
    found = opened(tokenizer)
    (count,) = asyncio.run(found.count(["cat " * 1_000_000]))
    assert LONGEST < count < 1000


def test_ids_are_decoded(tokenizer):
    found = opened(tokenizer)
    assert asyncio.run(found.decode([3, 4])) == "the cat"
    assert asyncio.run(found.decode_all([[1, 3, 2], [4]], skip_special=True)) == ["the", "cat"]
    assert asyncio.run(found.decode([3] * 5000)) == " ".join(["the"] * 5000)
    assert found.token(4) == "cat"
    assert found.token(1 << 20) == ""


def test_a_file_is_opened_once_until_it_changes(tmp_path):
    directory, tokenizers = write_tokenizer(tmp_path), Tokenizers()

    async def open_often() -> list[TextTokenizer]:
        return await asyncio.gather(*(tokenizers.open(directory) for _ in range(5)))

    first, *others = asyncio.run(open_often())
    assert all(other is first for other in others)
    os.utime(directory / "tokenizer.json", ns=(0, 0))
    assert opened(directory, tokenizers) is not first


def test_a_missing_and_a_damaged_file_are_different_errors_and_can_be_mended(tmp_path):
    tokenizers = Tokenizers()
    with pytest.raises(SlipwayError) as missing:
        opened(tmp_path, tokenizers)
    assert missing.value.code is Code.NOT_FOUND
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(SlipwayError, match=r"tokenizer\.json cannot be read") as damaged:
        opened(tmp_path, tokenizers)
    assert damaged.value.code is Code.UNSUPPORTED
    write_tokenizer(tmp_path)
    assert opened(tmp_path, tokenizers).vocabulary == len(WORDS)


@pytest.mark.parametrize("direction", ["right", "left"])
def test_what_is_cut_off_is_what_the_model_does_not_read(tmp_path, direction):
    file = write_tokenizer(tmp_path) / "tokenizer.json"
    source = Tokenizer.from_file(str(file))
    source.enable_truncation(LONGEST, direction=direction)
    source.save(str(file))
    long = " ".join(["cat", *["sat"] * 5000, "dog"])
    whole = source.encode(long).ids
    short, (first, _), (second, _) = opened(tmp_path).cut([long, (long, "a"), (long, "mat")])
    assert len(short) < 2000
    assert source.encode(short).ids == whole
    assert first is second
    assert opened(tmp_path).cut(["the cat"]) == ["the cat"]
