"""The decoding arguments of a request: its values override the defaults, and both are checked."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.errors import SlipwayError
from slipway.runtime.arguments import MOST_UNKNOWN, check_names, decoding_of, default_values, read_values
from slipway.transformer.generation import Search


def decoding(parameters: dict[str, str], **inputs: np.ndarray):
    values = read_values(inputs, 1, default_values({"max_output_len": "9", **parameters}))[0]
    return decoding_of(values, most_tokens=100, start_id=0, end_ids=(1, 7))


def column(value: float, kind: type = np.uint32) -> np.ndarray:
    return np.array([[value]], kind)


def test_no_argument_is_greedy_search_with_every_end_token():
    found = decoding({})
    assert (found.search, found.max_tokens, found.end_id, found.stop_words) == (Search.SAMPLE, 9, 1, ((7,),))
    assert (found.top_k, found.top_p, found.beam_width) == (0, 0.0, 1)


def test_requesting_beams_disables_default_sampling_and_vice_versa():
    beams = decoding({"runtime_top_k": "50"}, beam_width=column(4))
    assert (beams.search, beams.beam_width, beams.top_k) == (Search.HUGGING_FACE, 4, 0)
    sampled = decoding({"beam_width": "4"}, runtime_top_p=column(0.9, np.float32))
    assert (sampled.search, sampled.beam_width) == (Search.SAMPLE, 1)
    assert sampled.top_p == pytest.approx(0.9)


def test_beams_and_sampling_are_mutually_exclusive():
    with pytest.raises(SlipwayError, match="beam_width above 1 cannot be combined with runtime_top_k or runtime_top_p"):
        decoding({}, beam_width=column(4), runtime_top_k=column(5))


def test_no_more_sequences_come_back_than_there_are_beams():
    with pytest.raises(SlipwayError, match="num_return_sequences is 3, but beam_width is only 2"):
        decoding({}, beam_width=column(2), num_return_sequences=column(3))


def test_every_bad_argument_is_named_at_once():
    with pytest.raises(SlipwayError) as caught:
        decoding({}, temperature=column(np.nan, np.float32), runtime_top_p=column(1.5, np.float32))
    assert caught.value.message == (
        "input 'runtime_top_p': 1.5 is out of range, expected 0 to 1; "
        "input 'temperature': nan is out of range, expected 0 or more"
    )


def test_a_default_that_is_not_a_number_is_named():
    with pytest.raises(SlipwayError, match="parameter 'beam_width' is 'many'"):
        default_values({"beam_width": "many"})


def test_of_many_unknown_names_the_first_are_named_and_cut():
    names = ["temperatur", "x" * 1000, *(f"y{number}" for number in range(100_000))]
    with pytest.raises(SlipwayError) as caught:
        check_names(names, [])
    first, second, *others = caught.value.message.split("; ")
    assert first == "parameter 'temperatur' is unknown: did you mean 'temperature'?"
    assert second.startswith(f"parameter '{'x' * 256}...' is unknown: known ones are ")
    assert len(others) == MOST_UNKNOWN - 2
