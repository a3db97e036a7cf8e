from __future__ import annotations

import numpy as np
import pytest

from slipway.backends.lightseq.decoding import DecodingRules
from slipway.backends.lightseq.jobs import (
    ContinuationReader,
    ImageEncodingReader,
    ScoringReader,
    TextEncodingReader,
    TranslationReader,
)
from slipway.backends.lightseq.requests import TokenInput
from slipway.errors import SlipwayError
from slipway.transformer.generation import Encoded, Hypothesis, Search
from slipway.transformer.spec import Vision
from tests.backends.lightseq.asking import ids, request

END = 2
SOURCE = TokenInput("source_ids", 20, 10, padding_id=1)
PROMPT = TokenInput("token_ids", 20, 10, padding_id=1, pads_front=True)
BEAM = DecodingRules("beam_search", 0, END, 10, beam_width=2, length_penalty=1.0, diversity=0.5, extra=4)


def job_of(rules, *rows, **parameters):
    return TranslationReader(SOURCE, rules)(request("source_ids", ids(*rows), **parameters))


def rules(method, **figures):
    return DecodingRules(method, 0, END, 10, **figures)


def outputs(job, results):
    return {tensor.name: tensor.array for tensor in job.answer(results)}


def test_beam_search_follows_the_file():
    decoding = job_of(BEAM, [3, 4]).rows[0].decoding
    assert (decoding.search, decoding.beam_width) == (Search.LIGHTSEQ, 2)
    assert (decoding.length_penalty, decoding.diversity) == (1.0, 0.5)
    assert (decoding.start_id, decoding.end_id) == (0, END)


@pytest.mark.parametrize(("length", "columns"), [(2, 5), (5, 8), (6, 9), (10, 9)])
def test_the_answer_is_as_wide_as_source_and_extra_length_or_max_step_the_start_token_counted(length, columns):
    job = job_of(BEAM, [3] * length)
    assert job.columns == columns
    assert job.rows[0].decoding.max_tokens == columns  # the search puts the end token into the last one
    greedy = job_of(rules("beam_search", beam_width=1, extra=4), [3] * length)
    assert greedy.columns == columns
    assert greedy.rows[0].decoding.max_tokens == columns - 1


def test_sampling_goes_on_to_max_step_with_one_hypothesis():
    decoding = job_of(rules("topp", top_p=0.75, beam_width=4), [3]).rows[0].decoding
    assert (decoding.search, decoding.beam_width, decoding.top_p, decoding.top_k) == (Search.SAMPLE, 1, 0.75, 0)
    assert decoding.max_tokens == 9
    assert job_of(rules("topk", top_k=4), [3]).rows[0].decoding.top_k == 4


@pytest.mark.parametrize("greedy", [rules("topk", top_k=1), rules("beam_search", beam_width=1, extra=9)])
def test_the_best_of_one_and_a_beam_of_one_are_greedy_search(greedy):
    decoding = job_of(greedy, [3]).rows[0].decoding
    assert (decoding.search, decoding.beam_width, decoding.top_k, decoding.top_p) == (Search.SAMPLE, 1, 0, 0.0)


def test_topk_greedy_branches():
    decoding = job_of(rules("topk_greedy", beam_width=4), [3]).rows[0].decoding
    assert (decoding.search, decoding.beam_width) == (Search.BRANCHES, 4)


def test_equal_rows_draw_differently_and_a_seed_repeats_them():
    first, second = (row.decoding.seed for row in job_of(BEAM, [3], [3], random_seed=7).rows)
    assert first != second
    assert [row.decoding.seed for row in job_of(BEAM, [3], [3], random_seed=7).rows] == [first, second]
    assert job_of(BEAM, [3]).rows[0].decoding.seed != job_of(BEAM, [3]).rows[0].decoding.seed


@pytest.mark.parametrize("seed", [-1, 1 << 63, "one", True, 1.5])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(SlipwayError, match="parameter 'random_seed' of model 'm' is"):
        job_of(BEAM, [3], random_seed=seed)


def test_short_hypotheses_are_filled_with_the_end_token():
    job = job_of(BEAM, [3, 4], [5, 1])
    results = [
        [Hypothesis((7, 8, END), -1.0, -0.5), Hypothesis((7, END), -2.0, -0.75)],
        [Hypothesis((9, END), -1.0, -0.25), Hypothesis((END,), -2.0, -1.0)],
    ]
    answer = outputs(job, results)
    assert answer["target_ids"].tolist() == [[[7, 8, 2], [7, 2, 2]], [[9, 2, 2], [2, 2, 2]]]
    assert answer["target_ids"].dtype == np.int32
    assert answer["target_scores"].tolist() == [[-0.5, -0.75], [-0.25, -1.0]]
    assert answer["target_scores"].dtype == np.float32


def test_the_last_column_is_the_end_token_of_hypotheses_cut_off_too():
    job = job_of(BEAM, [3])  # four columns
    results = [[Hypothesis((7, 8, 9), -1.0, -0.5), Hypothesis((7, END), -2.0, -0.75)]]
    assert outputs(job, results)["target_ids"].tolist() == [[[7, 8, 9, 2], [7, 2, 2, 2]]]


def test_no_room_is_an_answer_of_the_end_token():
    job = job_of(rules("beam_search", beam_width=1, extra=0), [3])
    assert outputs(job, [[Hypothesis((7,), -1.0, -1.0)]])["target_ids"].tolist() == [[[2]]]


def test_a_request_without_rows_is_an_answer_without_rows():
    job = TranslationReader(SOURCE, BEAM)(request("source_ids", np.zeros((0, 3), np.int32)))
    assert outputs(job, [])["target_ids"].shape == (0, 2, 1)


def test_only_the_outputs_asked_for_are_sent():
    job = TranslationReader(SOURCE, BEAM)(request("source_ids", ids([3]), outputs=("target_scores",)))
    assert list(outputs(job, [[Hypothesis((END,), 0.0, 0.0)] * 2])) == ["target_scores"]


@pytest.mark.parametrize(("penalty", "score"), [(1.0, -3.0 * 6 / 8), (0.0, -3.0), (-1.0, -3.0 / 2)])
def test_a_beam_of_one_has_lightseqs_score(penalty, score):
    greedy = rules("beam_search", beam_width=1, length_penalty=penalty)
    assert greedy.score(Hypothesis((5, 6, END), -3.0, -3.0)) == pytest.approx(score)


def continued(limits, *rows):
    return ContinuationReader(PROMPT, limits)(request("token_ids", ids(*rows)))


def test_a_continuation_follows_its_prompt_without_padding():
    job = continued(rules("topk", top_k=1), [3, 4, 1, 1], [1, 5, 6, 7])
    assert [row.ids.tolist() for row in job.rows] == [[3, 4], [5, 6, 7]]
    assert [row.decoding.max_tokens for row in job.rows] == [8, 7]
    result = outputs(job, [[Hypothesis((8, 9, END), 0, 0)], [Hypothesis((END,), 0, 0)]])["result"]
    assert result.tolist() == [[3, 4, 8, 9, 2], [5, 6, 7, 2, 2]]
    assert result.dtype == np.int32


def test_a_continuation_is_limited_by_extra_length():
    assert continued(rules("topk", top_k=1, extra=3), [3, 4]).rows[0].decoding.max_tokens == 3
    assert continued(rules("topk", top_k=1, extra=30), [3, 4]).rows[0].decoding.max_tokens == 8


def test_a_prompt_that_leaves_no_room_is_given_back_as_it_is():
    job = continued(rules("topk", top_k=1), [3] * 10, [4] * 9 + [1])
    assert [row.ids.tolist() for row in job.rows] == [[4] * 9]
    assert outputs(job, [[Hypothesis((7,), 0, 0)]])["result"].tolist() == [[3] * 10, [4] * 9 + [7]]


def test_perplexity_needs_two_tokens_and_gives_one_number_per_row():
    read = ScoringReader(PROMPT)
    job = read(request("token_ids", ids([3, 4, 1], [5, 6, 7])))
    assert [row.ids.tolist() for row in job.rows] == [[3, 4], [5, 6, 7]]
    assert outputs(job, [0.5, 1.5])["result"].tolist() == [0.5, 1.5]
    with pytest.raises(SlipwayError, match=r"at least 2 tokens .* but row 1 has fewer"):
        read(request("token_ids", ids([3, 4], [5, 1])))


def test_hidden_states_of_padding_are_zeros():
    text = TokenInput("token_ids", 20, 10, padding_id=1)
    job = TextEncodingReader(text, hidden=2)(request("token_ids", ids([3, 4, 1], [1, 1, 1], [5, 6, 7])))
    assert [row.ids.tolist() for row in job.rows] == [[3, 4], [5, 6, 7]]
    states = outputs(job, [Encoded(np.ones((2, 2))), Encoded(np.ones((3, 2)))])["encoder_output"]
    assert states[..., 0].tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert states.dtype == np.float32


def test_images_have_the_size_that_the_model_was_made_for():
    read = ImageEncodingReader("pixel_values", Vision(4, 2), hidden=2)
    job = read(request("pixel_values", np.zeros((2, 3, 4, 4), np.float32)))
    assert [row.pixels.shape for row in job.rows] == [(3, 4, 4)] * 2
    assert outputs(job, [Encoded(np.ones((5, 2)))] * 2)["encoder_output"].shape == (2, 5, 2)
    with pytest.raises(SlipwayError, match=r"shape \[1, 3, 5, 5\], expected \[rows, 3, 4, 4\]"):
        read(request("pixel_values", np.zeros((1, 3, 5, 5), np.float32)))
