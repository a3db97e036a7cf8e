"""The pieces of a growing text consist of whole characters, and joined they equal the text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from slipway.runtime.pieces import TextPieces
from tests.kits.generators import LINES, bytes_tokenizer, unigram_tokenizer

HALF = "\N{REPLACEMENT CHARACTER}"
RANDOM = 40


@pytest.fixture(scope="module", params=["bytes", "unigram"])
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    directory: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "bytes":
        bytes_tokenizer(directory)
    else:
        unigram_tokenizer(directory, 48)
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    pieces = TextPieces(tokenizer)
    return [*(pieces.push(token) for token in ids), pieces.rest(ids)]


@pytest.mark.parametrize("line", LINES)
def test_pieces_of_real_text_join_to_it_and_come_with_their_tokens(tokenizer, line):
    ids = tokenizer.encode(line).ids
    pieces = streamed(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
    assert len([piece for piece in pieces if piece]) > len(ids) / 4
    assert HALF not in "".join(pieces)


def test_pieces_of_any_tokens_join_to_their_text_and_split_no_character(tokenizer):
    random = np.random.default_rng(0)
    for _ in range(RANDOM):
        ids = random.integers(0, tokenizer.get_vocab_size(), 60).tolist()
        pieces = streamed(tokenizer, ids)
        assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
        assert not any(piece.endswith(HALF) for piece in pieces[:-1])


def test_an_end_token_adds_nothing(tokenizer):
    end = tokenizer.token_to_id("</s>") or tokenizer.token_to_id("<|endoftext|>")
    ids = [*tokenizer.encode("the cat").ids, end]
    assert streamed(tokenizer, ids)[-2:] == ["", ""]
