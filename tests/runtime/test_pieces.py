"""The pieces of a growing text consist of whole characters, and joined they equal the text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from slipway.runtime.pieces import TextPieces
from tests.kits.generators import LINES, bytes_tokenizer, unigram_tokenizer
from tests.kits.tokenizers import KINDS

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


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> Tokenizer:
    return KINDS[request.param]()


@pytest.mark.parametrize("seed", range(4))
def test_any_tokens_of_any_family_join_to_their_text_without_half_characters(kind, seed):
    random = np.random.default_rng(seed)
    size = kind.get_vocab_size()
    for _ in range(RANDOM // 2):
        ids = random.integers(0, size, 50).tolist()
        pieces = streamed(kind, ids)
        assert "".join(pieces) == kind.decode(ids, skip_special_tokens=True)
        assert not any(piece.endswith(HALF) for piece in pieces[:-1])


@pytest.mark.parametrize("seed", range(2))
def test_runs_of_bytes_between_special_tokens_are_one_text(kind, seed):
    """Whole characters of several bytes, each byte a token, with tokens in between that have no text."""
    random = np.random.default_rng(seed)
    single = [token for token in range(kind.get_vocab_size()) if len(kind.id_to_token(token)) in (1, 6)]
    special = [token for token, added in kind.get_added_tokens_decoder().items() if added.special]
    for _ in range(RANDOM // 4):
        ids = [int(random.choice(special if random.random() < 0.2 else single)) for _ in range(60)]
        pieces = streamed(kind, ids)
        assert "".join(pieces) == kind.decode(ids, skip_special_tokens=True)
        assert not any(piece.endswith(HALF) for piece in pieces[:-1])


def test_special_tokens_that_are_kept_stay_in_the_text_and_others_do_not(kind):
    random = np.random.default_rng(5)
    kept = next(
        token.content
        for token in kind.get_added_tokens_decoder().values()
        if token.content.startswith("[T") or token.content == "<|python_tag|>"
    )
    number = kind.token_to_id(kept)
    others = [token for token, added in kind.get_added_tokens_decoder().items() if added.special and token != number]
    for _ in range(RANDOM // 4):
        ids = [*random.integers(0, kind.get_vocab_size(), 40).tolist(), number, others[0], number]
        pieces = TextPieces(kind, kept=[kept])
        text = "".join([*(pieces.push(token) for token in ids), pieces.rest(ids)])
        assert text == kind.decode([each for each in ids if each not in others], skip_special_tokens=False)
        assert text.count(kept) == ids.count(number)


class CountingTokenizer:
    """A tokenizer that notes how many ids it is given at a time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.most = 0

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        self.most = max(self.most, len(ids))
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def id_to_token(self, token: int) -> str | None:
        return self._tokenizer.id_to_token(token)


def test_a_long_text_of_replacement_characters_is_held_back_and_decoded_a_few_tokens_at_a_time():
    tokenizer = CountingTokenizer(KINDS["qwen"]())
    bad = next(token for token in range(256) if tokenizer.decode([token], skip_special_tokens=True) == HALF)
    letter = next(token for token in range(256) if tokenizer.id_to_token(token) == "a")
    pieces = TextPieces(tokenizer)
    assert [pieces.push(bad) for _ in range(500)] == [""] * 500
    assert pieces.push(letter) == HALF * 500 + "a"
    assert tokenizer.most < 20
