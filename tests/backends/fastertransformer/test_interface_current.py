"""Requests of the current interface: the effect of each argument on a row, and refused requests."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError
from slipway.transformer.generation import Search
from tests.backends.fastertransformer.requests import (
    HIDDEN,
    VOCABULARY,
    arrays,
    current,
    gpt,
    gpt_request,
    hypothesis,
    stack,
    t5,
    t5_request,
)

NAN = float("nan")


def read(request, spec=None, **limits):
    return current(spec or t5(), **limits).read(request)


def decoding(**arguments):
    return read(t5_request(**arguments)).rows[0].decoding


def refusal(request, spec=None, **limits):
    with pytest.raises(SlipwayError) as raised:
        read(request, spec, **limits)
    assert raised.value.code is Code.INVALID_ARG
    return raised.value.message


@pytest.mark.capability("0.8")
def test_the_required_inputs_alone_mean_greedy():
    job = read(t5_request([[5, 6, 7], [8, 9, 0]], [3, 2], tokens=4))
    assert [row.ids.tolist() for row in job.rows] == [[5, 6, 7], [8, 9]]
    made = job.rows[0].decoding
    assert (made.search, made.top_k, made.top_p, made.temperature) == (Search.SAMPLE, 0, 0.0, 1.0)
    assert (made.max_tokens, made.start_id, made.end_id, made.log_probabilities) == (4, 0, 1, False)


@pytest.mark.parametrize(
    ("k", "p", "used"),
    [(0, 0, (0, 0)), (1, 0.5, (0, 0)), (4, 0, (4, 0)), (4, 1, (4, 0)), (0, 1, (0, 1)), (4, 0.5, (4, 0.5))],
)
def test_top_k_and_top_p_choose_the_mode(k, p, used):
    made = decoding(runtime_top_k=[[k]], runtime_top_p=[[p]])
    assert (made.top_k, made.top_p) == used


def test_rows_of_one_request_may_mix_modes():
    job = read(t5_request([[5]] * 3, runtime_top_k=[[0], [3], [0]], runtime_top_p=[[0], [0], [0.5]]))
    assert [(row.decoding.top_k, row.decoding.top_p) for row in job.rows] == [(0, 0), (3, 0), (0, 0.5)]


def test_top_k_and_top_p_are_clipped_with_one_warning_each(caplog):
    interface = current(t5())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            job = interface.read(t5_request(runtime_top_k=[[5000]], runtime_top_p=[[1.5]]))
    assert (job.rows[0].decoding.top_k, job.rows[0].decoding.top_p) == (1024, 0.0)
    assert [record.getMessage().split("'")[1] for record in caplog.records] == ["runtime_top_k", "runtime_top_p"]


def test_factual_nucleus_arguments_outside_their_range_are_replaced():
    made = decoding(runtime_top_p=[[0.9]], top_p_decay=[[1.5]], top_p_min=[[0.0]], top_p_reset_ids=[[2**32 - 1]])
    assert (made.top_p_decay, made.top_p_min, made.top_p_reset_id) == (1.0, 0.5, -1)
    made = decoding(runtime_top_p=[[0.9]], top_p_decay=[[0.5]], top_p_min=[[0.25]], top_p_reset_ids=[[7]])
    assert (made.top_p_decay, made.top_p_min, made.top_p_reset_id) == (0.5, 0.25, 7)


def test_a_temperature_is_used_where_it_has_an_effect():
    half = 0.5  # the 1e-6 that FasterTransformer adds is `decoding/logits_processor.py`'s
    assert decoding(temperature=[[0.5]], runtime_top_k=[[4]]).temperature == half
    assert decoding(temperature=[[0.5]]).temperature == 1.0  # greedy
    assert decoding(temperature=[[0.5]], is_return_log_probs=[[True]]).temperature == half
    assert decoding(temperature=[[0.5]], beam_width=[[2]]).temperature == half


def test_the_beam_width_of_row_0_holds_for_all_and_sampling_is_ignored():
    job = read(
        t5_request(
            [[5], [6]],
            beam_width=[[4], [2]],
            len_penalty=[[1.0], [0.5]],
            beam_search_diversity_rate=[[0.0], [0.25]],
            runtime_top_k=[[5], [5]],
        )
    )
    made = [row.decoding for row in job.rows]
    assert [each.search for each in made] == [Search.HUGGING_FACE] * 2
    assert [(each.beam_width, each.length_penalty, each.diversity, each.top_k) for each in made] == [
        (4, 1.0, 0.0, 0),
        (4, 0.5, 0.25, 0),
    ]


def test_seed_penalties_words_and_ids_reach_the_row():
    made = decoding(
        random_seed=[[2**64 - 1]],
        runtime_top_k=[[4]],
        repetition_penalty=[[1.5]],
        min_length=[[99]],
        start_id=[[3]],
        end_id=[[4]],
        bad_words_list=[[[5, 6, 7], [1, 3, -1]]],
        stop_words_list=[[[0], [-1]]],
    )
    assert (made.seed, made.repetition_penalty, made.start_id, made.end_id) == (2**64 - 1, 1.5, 3, 4)
    assert made.min_tokens == 8  # no more than are generated
    assert (made.bad_words, made.stop_words) == (((5,), (6, 7)), ())
    assert decoding(presence_penalty=[[0.5]], repetition_penalty=[[1.0]]).presence_penalty == 0.5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"beam_width": [[0]]}, "'beam_width' is 0, expected 1 to 64"),
        ({"beam_width": [[65]]}, "'beam_width' is 65"),
        ({"lengths": [4]}, "'sequence_length' of row 0 is 4, expected 1 to 3"),
        ({"lengths": [0]}, "'sequence_length' of row 0 is 0"),
        ({"tokens": 0}, "'max_output_len' of row 0 is 0"),
        ({"tokens": 2**31}, "is 2147483648, expected 1 to 16384"),
        ({"temperature": [[NAN]]}, "'temperature' of row 0 is nan"),
        ({"temperature": [[-1]]}, "'temperature' of row 0 is -1"),
        ({"runtime_top_p": [[NAN]]}, "'runtime_top_p' of row 0 is nan"),
        ({"repetition_penalty": [[0]]}, "'repetition_penalty' of row 0 is 0"),
        ({"len_penalty": [[float("inf")]], "beam_width": [[2]]}, "'len_penalty' of row 0 is inf"),
        ({"repetition_penalty": [[2]], "presence_penalty": [[1]]}, "are mutually exclusive"),
        ({"ids": [[5, 100]]}, "contains the id 100, the vocabulary has 100 tokens"),
        ({"ids": [[5, 2**32 - 1]]}, "contains the id 4294967295"),
        ({"start_id": [[100]]}, "'start_id' of row 0 is 100"),
        ({"end_id": [[100]]}, "'end_id' of row 0 is 100"),
        ({"ia3_tasks": [[0]]}, "the checkpoint has no IA3 tasks"),
        ({"prompt_learning_task_name_ids": [[0]]}, "the checkpoint has no prompt tables"),
        ({"bad_words_list": [[[5, 6], [1, 3]]]}, "'bad_words_list' of row 0 is malformed"),
        ({"request_prompt_lengths": [[1]]}, "one of them is missing"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(arguments, reason):
    assert reason in refusal(t5_request(**arguments))


def test_all_problems_of_a_request_are_reported_at_once():
    message = refusal(t5_request(beam_width=[[0]], temperature=[[NAN]], tokens=0))
    assert all(name in message for name in ("beam_width", "temperature", "max_output_len"))


def test_the_size_of_an_answer_is_checked_before_it_is_made():
    message = refusal(t5_request([[5]] * 4, tokens=1000, beam_width=[[64]] * 4), output_elements=1000)
    assert "4 rows of 64 beams of 1000 tokens make 256000 output elements, at most 1000" in message
    wide = gpt_request([[5] + [0] * 2000], [1], [1], beam_width=[[8]])  # answers begin with the whole input
    assert "make 16016 output elements" in refusal(wide, gpt(), output_elements=1000)


def test_inputs_longer_than_the_limit_are_refused():
    assert "is 3, at most 2 tokens" in refusal(t5_request(), input_tokens=2)


def test_a_hundred_thousand_stop_words_are_refused():
    words = np.stack([np.full(100_000, 7), np.arange(1, 100_001)])[None]
    assert "100000 token ids" in refusal(t5_request(stop_words_list=words))


@pytest.mark.capability("0.19")
def test_adapter_tasks_select_a_row_each_and_stay_in_range():
    spec = t5(encoder=stack(adapter_tasks=2), decoder=stack(adapter_tasks=2))
    job = read(t5_request([[5], [6]], ia3_tasks=[[1], [0]]), spec)
    assert [row.adapter_task for row in job.rows] == [1, 0]
    assert "is 2, expected one of the tasks 0 to 1" in refusal(t5_request(ia3_tasks=[[2]]), spec)
    assert "is -1" in refusal(t5_request(ia3_tasks=[[-1]]), spec)


@pytest.mark.capability("0.19")
def test_virtual_tokens_need_the_prompt_of_their_task():
    spec = t5(prompts=(("squad", 4), ("boolq", 2)), prompt_start_id=VOCABULARY)
    ids = [[100, 103, 5]]
    job = read(t5_request(ids, prompt_learning_task_name_ids=[[0]]), spec)
    assert job.rows[0].prompt_task == 0
    assert "the row has no prompt" in refusal(t5_request(ids), spec)
    assert "the row's prompt has 100 to 101" in refusal(t5_request(ids, prompt_learning_task_name_ids=[[1]]), spec)
    unknown = refusal(t5_request(ids, prompt_learning_task_name_ids=[[2]]), spec)
    assert "is 2, expected one of the tasks 0 to 1 (0 squad, 1 boolq)" in unknown


def test_a_prompt_may_come_with_the_request():
    spec = t5(prompt_start_id=VOCABULARY)
    table = np.arange(3 * HIDDEN, dtype=np.float16).reshape(1, 3, HIDDEN)
    ids = [[100, 101, 5]]
    job = read(t5_request(ids, request_prompt_embedding=table, request_prompt_lengths=[[2]]), spec)
    assert np.array_equal(job.rows[0].prompt, table[0, :2])
    wrong = {"request_prompt_embedding": table[:, :, :3], "request_prompt_lengths": [[2]]}
    assert f"expected [1, tokens, {HIDDEN}]" in refusal(t5_request(ids, **wrong), spec)
    long = {"request_prompt_embedding": table, "request_prompt_lengths": [[4]]}
    assert "is 4 of 3 rows" in refusal(t5_request(ids, **long), spec)


def test_finished_rows_are_padded_with_the_end_token_and_the_rest_is_zero():
    job = read(t5_request([[5], [6]], tokens=5, end_id=[[1], [9]]))
    got = arrays(job.answer([[hypothesis(7, 8, 1)], [hypothesis(9)]]))
    assert got["output_ids"].tolist() == [[[7, 8, 1, 0, 0]], [[9, 9, 9, 0, 0]]]
    assert got["sequence_length"].tolist() == [[3], [1]]
    assert got.keys() == {"output_ids", "sequence_length"}
    assert got["output_ids"].dtype == np.int32


@pytest.mark.capability("0.12")
def test_log_probabilities_are_returned_on_request():
    job = read(t5_request(tokens=3, is_return_log_probs=[[True]]))
    assert job.rows[0].decoding.log_probabilities
    got = arrays(job.answer([[hypothesis(7, 1, total=-1.5, each=(-0.5, -1.0))]]))
    assert got["cum_log_probs"].tolist() == [[-1.5]]
    assert got["output_log_probs"].tolist() == [[[-0.5, -1.0, 0.0]]]
    assert not read(t5_request(is_return_log_probs=[[False]])).rows[0].decoding.log_probabilities


def test_beams_come_best_first():
    job = read(t5_request(tokens=3, beam_width=[[2]]))
    got = arrays(job.answer([[hypothesis(7, 1), hypothesis(8, 9, 1)]]))
    assert got["output_ids"].tolist() == [[[7, 1, 1], [8, 9, 1]]]
    assert got["sequence_length"].tolist() == [[2, 3]]


def test_a_request_without_rows_has_an_answer_without_rows():
    job = read(t5_request(np.zeros((0, 3)), lengths=np.zeros((0,)), tokens=4))
    assert arrays(job.answer([]))["output_ids"].shape[:2] == (0, 1)


def test_a_model_without_batch_dimension_is_asked_and_answers_without():
    request = t5_request([[5, 6]], tokens=3)
    request.inputs["input_ids"] = request.inputs["input_ids"].reshaped((2,))
    job = read(request)
    assert [row.ids.tolist() for row in job.rows] == [[5, 6]]
    assert arrays(job.answer([[hypothesis(7, 1)]]))["output_ids"].tolist() == [[7, 1, 0]]


def test_gpt_answers_with_the_prompt_before_what_was_generated():
    job = read(gpt_request([[5, 6, 7], [8, 0, 0]], [3, 1], tokens=[2, 4]), gpt())
    assert [row.decoding.max_tokens for row in job.rows] == [2, 4]
    got = arrays(job.answer([[hypothesis(11, 12)], [hypothesis(13, 14, 99)]]))
    assert got["output_ids"].tolist() == [[[5, 6, 7, 11, 12, 0, 0]], [[8, 13, 14, 99, 99, 0, 0]]]
    assert got["sequence_length"].tolist() == [[5], [4]]
    assert got["response_input_lengths"].tolist() == [[3], [1]]
    assert got["output_ids"].dtype == np.uint32


def test_gpt_cannot_go_beyond_its_positions():
    assert "makes 9 tokens, the model has 8 positions" in refusal(gpt_request(tokens=[6]), gpt(8))
    assert "at most 2 tokens are allowed" in refusal(gpt_request(tokens=[1]), gpt(2))


def test_a_missing_input_is_named():
    request = t5_request()
    del request.inputs["max_output_len"]
    assert "'max_output_len' is missing" in refusal(request)
