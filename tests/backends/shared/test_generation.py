"""Requests on a transformer engine: each is answered when it is done, and none changes another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.backends.shared.generation import GenerationExecutor
from slipway.core.pending import Pending
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import Code, internal, invalid
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import Decoding, Search, SequenceRequest
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Stack, Transformer, standard_scale
from slipway.transformer.weights import Array, Weights, expected_shapes

SPEC = Transformer(
    decoder=Stack(
        layers=1, hidden=8, heads=2, head_size=4, inner=16, vocabulary=40, pre_norm=True, final_norm=True,
        position_rows=64, attention_scale=standard_scale(4),
    ),
    end_id=39,
)  # fmt: skip
NO_END = 1000


def random_weights():
    generator = np.random.default_rng(0)

    def array(shape):
        values = generator.normal(size=shape).astype(np.float32)
        return Array(shape, lambda: values)

    return Weights({name: array(shape) for name, shape in expected_shapes(SPEC).items()})


@pytest.fixture(scope="module")
def engine():
    opened = open_engine(SPEC, random_weights(), EngineOptions(engine="torch"), name="tiny")
    yield opened
    opened.close()


class Job:
    """A row per row of `ids`; `limits` are their lengths. Answers with the ids of all rows, end to end."""

    def __init__(self, request):
        ids = request.inputs["ids"].array
        if (ids == 13).any():
            raise invalid("13 is no token")
        limit = int(request.inputs["limit"].array[0])
        width = int(request.inputs["beams"].array[0]) if "beams" in request.inputs else 1
        search = Search.SAMPLE if width == 1 else Search.HUGGING_FACE
        decoding = Decoding(limit, end_id=NO_END, search=search, beam_width=width)
        if "k" in request.inputs:
            decoding = replace(decoding, top_k=int(request.inputs["k"].array[0]), seed=3, log_probabilities=True)
        self.rows = [SequenceRequest(row, decoding) for row in ids]

    def answer(self, results):
        best = [result[0] for result in results]
        return [
            Tensor.from_array("ids", np.array([token for each in best for token in each.ids], np.int64)),
            Tensor.from_array("figures", np.array([figure for each in best for figure in each.log_probabilities])),
            Tensor.from_array("totals", np.array([each.log_probability for each in best])),
        ]


class Loop:
    """Runs what a thread hands over at once."""

    def call_soon_threadsafe(self, callback, *arguments):
        callback(*arguments)


def ask(answers, name, ids, limit, beams=1, k=0):
    request = InferRequest("m", id=name)
    given = {"ids": np.array(ids, np.int64), "limit": np.array([limit])}
    if beams > 1:
        given["beams"] = np.array([beams])
    if k:
        given["k"] = np.array([k])
    request.inputs = {key: Tensor.from_array(key, value) for key, value in given.items()}
    return Pending(request, len(ids), 0, Loop(), lambda response: answers.append((name, response)))


def tokens_of(response):
    return response.outputs[0].array.tolist()


def execute(executor, batch):
    """Execute a batch, and wait until every request is answered."""
    execution = executor.execute(batch)
    executor.close()
    return execution


def alone(engine, ids, limit, beams=1):
    answers = []
    execute(GenerationExecutor(engine, Job), [ask(answers, "alone", ids, limit, beams)])
    return tokens_of(answers[0][1])


def test_requests_of_a_batch_get_what_they_get_alone_and_the_shortest_is_answered_first(engine):
    asked = {"long": ([[1, 2, 3]], 12), "short": ([[4]], 2), "two rows": ([[5, 6], [7, 8]], 6)}
    answers = []
    batch = [ask(answers, name, *what) for name, what in asked.items()]
    execution = execute(GenerationExecutor(engine, Job), batch)
    assert execution.responses == [None] * 3
    assert [name for name, _ in answers] == ["short", "two rows", "long"]
    assert {name: tokens_of(response) for name, response in answers} == {
        name: alone(engine, *what) for name, what in asked.items()
    }


def test_a_request_that_cannot_be_read_or_computed_is_answered_alone(engine):
    answers = []
    batch = [ask(answers, "bad", [[13]], 3), ask(answers, "good", [[1]], 3), ask(answers, "too long", [[1] * 63], 9)]
    execute(GenerationExecutor(engine, Job), batch)
    by_name = dict(answers)
    assert by_name["bad"].error.code is Code.INVALID_ARG
    assert by_name["too long"].error.code is Code.UNSUPPORTED
    assert tokens_of(by_name["good"]) == alone(engine, [[1]], 3)


def test_a_streamed_request_gets_one_token_more_with_every_answer_and_an_empty_end(engine):
    answers = []
    execute(GenerationExecutor(engine, Job, streams=True), [ask(answers, "one", [[1, 2]], 5)])
    responses = [response for _, response in answers]
    assert [response.final for response in responses] == [False] * 5 + [True]
    whole = alone(engine, [[1, 2]], 5)
    assert [tokens_of(response) for response in responses[:-1]] == [whole[: count + 1] for count in range(5)]
    assert responses[-1].empty


def test_a_streamed_token_is_reported_with_the_figures_that_an_unstreamed_answer_has(engine):
    streamed, whole = [], []
    execute(GenerationExecutor(engine, Job, streams=True), [ask(streamed, "one", [[1, 2]], 5, k=4)])
    execute(GenerationExecutor(engine, Job), [ask(whole, "one", [[1, 2]], 5, k=4)])
    ids, figures, totals = (tensor.array for tensor in whole[0][1].outputs)
    assert not np.isclose(figures.sum(), totals[0], rtol=1e-3)  # within the best four, and within all
    for count, (_, response) in enumerate(streamed[:-1], start=1):
        told_ids, told_figures, told_totals = (tensor.array for tensor in response.outputs)
        assert told_ids.tolist() == ids[:count].tolist()
        np.testing.assert_allclose(told_figures, figures[:count], rtol=1e-6)
    np.testing.assert_allclose(told_totals, totals, rtol=1e-6)


def test_a_cancelled_beam_search_stops_and_its_batch_mates_go_on(engine):
    answers, partial = [], []
    gone = ask(answers, "gone", [[1]], 60, beams=3)
    other = ask(partial, "other", [[2]], 20)
    order = []
    gone.observe = lambda _, response: order.append("gone")  # noqa: ARG005

    def watch(_, response):
        if len(partial) == 2:
            gone.cancel()
        if response.final:
            order.append("other")

    other.observe = watch
    execute(GenerationExecutor(engine, Job, streams=True), [gone, other])
    assert answers[-1][1].error.code is Code.CANCELLED
    assert order == ["gone", "other"]  # not after its sixty tokens
    assert tokens_of(partial[-2][1]) == alone(engine, [[2]], 20)


def test_a_streamed_beam_is_answered_once(engine):
    answers = []
    execute(GenerationExecutor(engine, Job, streams=True), [ask(answers, "beam", [[1, 2]], 5, beams=3)])
    assert len(answers) == 1
    assert answers[0][1].final
    assert tokens_of(answers[0][1]) == alone(engine, [[1, 2]], 5, beams=3)


def test_a_cancelled_request_stops_and_its_batch_mates_go_on(engine):
    answers, partial = [], []
    gone = ask(answers, "gone", [[1]], 40)
    other = ask(partial, "other", [[2]], 5)
    other.observe = lambda _, response: gone.cancel() if len(partial) == 2 and not response.final else None
    execute(GenerationExecutor(engine, Job, streams=True), [gone, other])
    assert answers[-1][1].error.code is Code.CANCELLED
    assert len(answers) <= 5  # three or four tokens of its forty, and the end
    assert tokens_of(partial[-2][1]) == alone(engine, [[2]], 5)


def test_a_request_cancelled_before_it_starts_costs_nothing(engine):
    answers = []
    gone = ask(answers, "gone", [[1]], 5)
    gone.cancel()
    execute(GenerationExecutor(engine, Job), [gone])
    assert answers[0][1].error.code is Code.CANCELLED


class FailingOn:
    """The engine, but any call that has a row with this token fails as a whole."""

    def __init__(self, engine, token):
        self._engine = engine
        self._token = token
        self.refusal = engine.refusal

    def joins(self, row) -> bool:  # noqa: ARG002
        return False

    def generate(self, rows, listener):
        if any(self._token in row.ids for row in rows):
            raise internal("out of memory")
        self._engine.generate(rows, listener)


def test_when_a_batch_fails_every_request_is_tried_alone(engine):
    answers = []
    batch = [ask(answers, "poison", [[9]], 3), ask(answers, "good", [[1]], 3)]
    execute(GenerationExecutor(FailingOn(engine, 9), Job), batch)
    by_name = dict(answers)
    assert by_name["poison"].error.message == "out of memory"
    assert tokens_of(by_name["good"]) == alone(engine, [[1]], 3)


class Listening:
    """An engine that notes the priority of the rows that join it, and fails them."""

    def __init__(self):
        self.priorities = []

    def refusal(self, row):  # noqa: ARG002
        return ""

    def joins(self, row):  # noqa: ARG002
        return True

    def start(self, rows, listener):
        self.priorities += [row.priority for row in rows]
        for index in range(len(rows)):
            listener.failed(index, internal("only listening"))


def test_rows_have_the_priority_of_their_request_or_the_models_default():
    answers, engine = [], Listening()
    urgent, plain = ask(answers, "urgent", [[1]], 3), ask(answers, "plain", [[1], [2]], 3)
    urgent.request.priority = 1
    execute(GenerationExecutor(engine, Job, default_priority=2), [urgent, plain])
    assert engine.priorities == [1, 2, 2]
    assert [name for name, _ in answers] == ["urgent", "plain"]
