"""Pieces of a growing text are whole characters, and joined they are the text; decoding arguments are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from slipway.errors import SlipwayError
from slipway.runtime.arguments import decoding_of, default_values, read_values
from slipway.runtime.pieces import TextPieces
from slipway.transformer.generation import Search
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


def decoding(parameters: dict[str, str], **inputs: np.ndarray):
    values = read_values(inputs, 1, default_values({"max_output_len": "9", **parameters}))[0]
    return decoding_of(values, most_tokens=100, start_id=0, end_ids=(1, 7))


def column(value: float, kind: type = np.uint32) -> np.ndarray:
    return np.array([[value]], kind)


def test_no_argument_is_greedy_search_with_every_end_token():
    found = decoding({})
    assert (found.search, found.max_tokens, found.end_id, found.stop_words) == (Search.SAMPLE, 9, 1, ((7,),))
    assert (found.top_k, found.top_p, found.beam_width) == (0, 0.0, 1)


def test_who_asks_for_beams_gets_no_sampling_by_default_and_the_other_way_round():
    beams = decoding({"runtime_top_k": "50"}, beam_width=column(4))
    assert (beams.search, beams.beam_width, beams.top_k) == (Search.HUGGING_FACE, 4, 0)
    sampled = decoding({"beam_width": "4"}, runtime_top_p=column(0.9, np.float32))
    assert (sampled.search, sampled.beam_width) == (Search.SAMPLE, 1)
    assert sampled.top_p == pytest.approx(0.9)


def test_beams_and_sampling_exclude_each_other():
    with pytest.raises(SlipwayError, match="beam_width above 1 and runtime_top_k or runtime_top_p exclude each other"):
        decoding({}, beam_width=column(4), runtime_top_k=column(5))


def test_no_more_sequences_come_back_than_there_are_beams():
    with pytest.raises(SlipwayError, match="num_return_sequences is 3 and beam_width 2"):
        decoding({}, beam_width=column(2), num_return_sequences=column(3))


def test_every_bad_argument_is_named_at_once():
    with pytest.raises(SlipwayError) as caught:
        decoding({}, temperature=column(np.nan, np.float32), runtime_top_p=column(1.5, np.float32))
    assert caught.value.message == (
        "input 'runtime_top_p': 1.5 is not allowed, only 0 to 1; "
        "input 'temperature': nan is not allowed, only 0.0001 or more"
    )


def test_a_default_that_is_no_number_fails_the_model_by_name():
    with pytest.raises(SlipwayError, match="parameter 'beam_width' is 'many'"):
        default_values({"beam_width": "many"})
