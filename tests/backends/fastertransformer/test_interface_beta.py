"""Requests of the first interface: every way of decoding is a parameter of the model."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.backends.fastertransformer.configuration import read_configuration
from slipway.backends.fastertransformer.interface_beta import BetaInterface
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError
from slipway.transformer.generation import Search
from tests.backends.fastertransformer.requests import arrays, gpt, hypothesis, t5
from tests.backends.models import parse, signature_of


def interface(kind="T5", dims="[ -1 ]", spec=None, *, rows=128, **parameters):
    lines = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in {"model_type": kind, **parameters}.items()
    )
    more = 'input { name: "REQUEST_OUTPUT_LEN" data_type: TYPE_UINT32 dims: [ 1 ] }\n' if kind == "GPT" else ""
    config = parse(
        f"""max_batch_size: {rows}
input {{ name: "INPUT_ID" data_type: TYPE_UINT32 dims: {dims} }}
input {{ name: "REQUEST_INPUT_LEN" data_type: TYPE_UINT32 dims: [ -1 ] }}
{more}output {{ name: "OUTPUT0" data_type: TYPE_UINT32 dims: [ -1, -1 ] }}
output {{ name: "OUTPUT1" data_type: TYPE_UINT32 dims: [ -1 ] }}
{lines}"""
    )
    return BetaInterface(signature_of(config), spec or t5(), read_configuration(config))


def request(ids, lengths, **more):
    given = {"INPUT_ID": ids, "REQUEST_INPUT_LEN": lengths, **more}
    return InferRequest("m", inputs={key: Tensor.from_array(key, np.array(x, np.uint32)) for key, x in given.items()})


@pytest.mark.capability("0.7")
def test_t5_answers_with_max_decoding_seq_len_columns_and_exact_lengths():
    job = interface(max_decoding_seq_len="6", top_k="1", top_p="0.0").read(request([[5, 6], [7, 0]], [[2], [1]]))
    assert [(row.ids.tolist(), row.decoding.max_tokens) for row in job.rows] == [([5, 6], 5), ([7], 5)]
    got = arrays(job.answer([[hypothesis(8, 9, 1)], [hypothesis(1)]]))
    assert got["OUTPUT0"].tolist() == [[[8, 9, 1, 0, 0, 0]], [[1, 1, 1, 0, 0, 0]]]
    assert got["OUTPUT1"].tolist() == [[3], [1]]
    assert got["OUTPUT0"].dtype == np.uint32


def test_parameters_say_how_to_decode():
    made = interface(beam_width="4", len_penalty="1.0", beam_search_diversity_rate="0.5", top_k="3").read(
        request([[5]], [[1]])
    )
    decoding = made.rows[0].decoding
    assert (decoding.search, decoding.beam_width, decoding.length_penalty) == (Search.HUGGING_FACE, 4, 1.0)
    assert made.answer([[hypothesis(1)] * 4])[0].shape == (1, 4, 528)
    sampled = interface(top_k="4", top_p="0.5", temperature="0.7").read(request([[5]], [[1]])).rows[0].decoding
    assert (sampled.top_k, sampled.top_p) == (4, 0.5)


def test_a_count_that_is_not_a_number_is_0_and_logged(caplog):
    job = interface(top_k="many").read(request([[5]], [[1]]))
    assert (job.rows[0].decoding.top_k, job.rows[0].decoding.top_p) == (0, 0.0)
    assert "parameter 'top_k' is 'many'" in caplog.text


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"beam_width": "65"}, "'beam_width' is 65"),
        ({"temperature": "warm"}, "'temperature': 'warm' is not a number"),
        ({"temperature": "nan"}, "'temperature' is nan"),
        ({"repetition_penalty": "0"}, "must be above 0"),
    ],
)
def test_parameters_that_cannot_be_served_fail_the_load(parameters, reason):
    with pytest.raises(SlipwayError, match=reason) as raised:
        interface(**parameters)
    assert raised.value.code is Code.INVALID_ARG


def test_an_input_over_max_encoder_seq_len_is_refused():
    with pytest.raises(SlipwayError, match="is 3, at most 2 tokens"):
        interface(max_encoder_seq_len="2").read(request([[5, 6, 7]], [[3]]))


def test_gpt_brings_a_middle_dimension_and_asks_for_its_own_length():
    read = interface("GPT", "[ -1, -1 ]", gpt(), max_input_len="8", max_seq_len="10").read
    job = read(request([[[5, 6]], [[7, 0]]], [[2], [1]], REQUEST_OUTPUT_LEN=[[3], [2]]))
    assert [(row.ids.tolist(), row.decoding.max_tokens) for row in job.rows] == [([5, 6], 3), ([7], 2)]
    got = arrays(job.answer([[hypothesis(8, 9, 10)], [hypothesis(11, 12)]]))
    assert got["OUTPUT0"].tolist() == [[[5, 6, 8, 9, 10]], [[7, 11, 12, 99, 99]]]
    with pytest.raises(SlipwayError, match="is 9 after 2 tokens of input, expected 1 or more, and 10 together"):
        read(request([[[5, 6]]], [[2]], REQUEST_OUTPUT_LEN=[[9]]))
    with pytest.raises(SlipwayError, match=r"expected \[rows, 1, tokens\]"):
        read(request([[[5, 6], [5, 6]]], [[2]], REQUEST_OUTPUT_LEN=[[2]]))


def test_a_model_without_a_batch_axis_is_asked_and_answered_for_one_row():
    job = interface(rows=0, max_decoding_seq_len="4").read(request([5, 6], [2]))
    assert [row.ids.tolist() for row in job.rows] == [[5, 6]]
    got = arrays(job.answer([[hypothesis(8, 1)]]))
    assert (got["OUTPUT0"].tolist(), got["OUTPUT1"].tolist()) == ([[8, 1, 0, 0]], [2])
    read = interface("GPT", "[ -1, -1 ]", gpt(), rows=0, max_seq_len="10").read
    got = arrays(read(request([[5, 6]], [2], REQUEST_OUTPUT_LEN=[3])).answer([[hypothesis(8, 9, 10)]]))
    assert got["OUTPUT0"].tolist() == [[5, 6, 8, 9, 10]]


def test_the_size_of_an_answer_is_checked_before_it_is_made():
    wide = np.zeros((1, 1, 1 << 25), np.uint32)
    with pytest.raises(SlipwayError, match="output elements, at most 67108864 are allowed"):
        interface("GPT", "[ -1, -1 ]", gpt(), beam_width="4").read(request(wide, [[1]], REQUEST_OUTPUT_LEN=[[1]]))
