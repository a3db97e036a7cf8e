"""Requests that take one pass through an engine: rows of a batch run together, errors go to their own requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from slipway.backends.shared.single_pass import EncodingExecutor, ScoringExecutor
from slipway.core.pending import Pending
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError, internal, invalid
from slipway.instances.execution import execute
from slipway.transformer.generation import Encoded, SequenceRequest

POISON = 13


class Counting:
    """An engine that notes its calls: a row's state and its score are its first id."""

    def __init__(self):
        self.calls = []

    def encode(self, rows, *, attentions=False):
        return [Encoded(np.array([[first]])) for first in self._run(rows, attentions)]

    def score(self, rows):
        return self._run(rows, False)

    def _run(self, rows, attentions):
        firsts = [float(row.ids[0]) for row in rows]
        self.calls.append((firsts, attentions))
        if POISON in firsts:
            raise internal("out of memory")
        return firsts


@dataclass
class Job:
    """A row per id; answers with the engine's results, in order."""

    rows: list[SequenceRequest]
    attentions: bool

    def answer(self, results):
        figures = [each if isinstance(each, float) else each.hidden.item() for each in results]
        return [Tensor.from_array("figures", np.array(figures, np.float32))]


def read(request):
    ids = request.inputs["ids"].array
    if (ids < 0).any():
        raise invalid("ids are not negative")
    return Job([SequenceRequest(np.array([each])) for each in ids], attentions="attentions" in request.parameters)


def pending(*ids, **parameters):
    request = InferRequest("m", inputs={"ids": Tensor.from_array("ids", np.array(ids))}, parameters=parameters)
    return Pending(request, len(ids), 0, None, lambda _: None)


def outcomes(execution):
    return [
        response.error.message if response.error else response.outputs[0].array.tolist()
        for response in execution.responses
    ]


@pytest.fixture(params=[EncodingExecutor, ScoringExecutor])
def executor(request):
    return request.param(Counting(), read)


def test_rows_of_all_requests_run_in_one_call_and_find_their_own(executor):
    assert outcomes(executor.execute([pending(1, 2), pending(), pending(3)])) == [[1, 2], [], [3]]
    assert executor.engine.calls == [([1, 2, 3], False)]


def test_a_request_that_cannot_be_read_is_answered_alone(executor):
    assert outcomes(executor.execute([pending(-1), pending(3)])) == ["ids are not negative", [3]]


def test_when_a_batch_fails_each_request_is_tried_alone(executor):
    batch = [pending(1), pending(POISON), pending(3)]
    assert outcomes(execute(executor, batch, "m_0")) == [[1], "out of memory", [3]]


def test_a_lone_request_fails_with_the_engines_error(executor):
    with pytest.raises(SlipwayError, match="out of memory"):
        executor.execute([pending(POISON)])


def test_only_who_asks_for_attentions_takes_the_slower_path():
    executor = EncodingExecutor(Counting(), read)
    batch = [pending(1, attentions=True), pending(2), pending(3, attentions=True)]
    assert outcomes(executor.execute(batch)) == [[1], [2], [3]]
    assert executor.engine.calls == [([2], False), ([1, 3], True)]
