"""The gate of tensor2tensor's models: what passes, and what a refusal says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from slipway.convert.agreement import Generated
from slipway.convert.tensor2tensor.gate import TranslationQuestion, judge
from slipway.errors import invalid

WANTED = {5: (7, 8, 1), 6: (9, 1), 4: (3, 3, 3, 3)}


def questions(*beams):
    rows = [
        TranslationQuestion(np.array([token, 1]), 4, Generated(ids, tuple(frozenset({each}) for each in ids)))
        for token, ids in WANTED.items()
    ]
    rows += [
        TranslationQuestion(np.array([token, 1]), 4, Generated(WANTED[token], (), -2.0), 2, 0.6) for token in beams
    ]
    return rows


def run(requests, wrong=None, score=-2.0):
    answers = []
    for request in requests:
        assert (request["extra_length"] + request["inputs"].shape[1] == 4).all(), "every row has the same limit"
        rows = [(WANTED if wrong is None else WANTED | wrong)[int(ids[0])] for ids in request["inputs"]]
        ids = np.zeros((len(rows), 6), np.int32)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        answers.append({"outputs": ids, "scores": np.full((len(rows), 1), score, np.float32)})
    return answers


def test_the_same_ids_pass_in_every_precision():
    for precision in ("fp32", "int8"):
        verdict = judge(run, questions(5), precision, 0.9)
        assert verdict.passed
        assert verdict.figures.share == 1.0
        assert verdict.figures.searched.same_rows == verdict.figures.searched.rows


def test_one_different_token_fails_in_float32():
    verdict = judge(lambda requests: run(requests, {6: (9, 9, 1)}), questions(), "fp32", 0.9)
    assert not verdict.passed
    assert (
        "differ from the reference; first difference: row 1 alone (2 tokens), token 1: 9 instead of 1"
        in (verdict.problems[0])
    )


def test_reduced_precision_may_lose_a_share():
    wrong = {4: (3, 3, 3, 9)}
    assert judge(lambda requests: run(requests, wrong), questions(), "int8", 0.8).passed
    assert not judge(lambda requests: run(requests, wrong), questions(), "int8", 0.99).passed


def test_another_beam_of_the_same_score_is_a_tie_and_of_another_a_difference():
    wrong = {5: (7, 9, 1)}
    asked = [question for question in questions(5) if question.beam_size > 1]
    assert judge(lambda requests: run(requests, wrong), asked, "fp32", 0.9).passed
    verdict = judge(lambda requests: run(requests, wrong, score=-3.0), asked, "fp32", 0.9)
    assert "rows with beam search differ from the reference" in verdict.problems[0]


def test_a_model_that_fails_does_not_pass():
    def fail(requests):
        raise invalid("no")

    verdict = judge(fail, questions(), "fp32", 0.9)
    assert verdict.problems == ("it fails on row 0 alone (2 tokens): no",)


@pytest.mark.capability("2.15")
def test_only_the_first_batch_has_a_deadline():
    times = itertools.chain((0.0, 0.3), itertools.count(10, 5))
    assert judge(run, questions(), "fp32", 0.9, first_batch_s=0.31, clock=lambda: next(times)).passed
    times = iter((0.0, 0.3, *range(10, 100)))
    verdict = judge(run, questions(), "fp32", 0.9, first_batch_s=0.25, clock=lambda: next(times))
    assert verdict.problems == ("its first batch took 300 ms, the limit is 250 ms",)
