"""Batching by length from queue to response, in real schedulers and executors: each request gets what it gets alone."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.stacked import StackedExecutor
from slipway.core.padding import PaddedInput, PaddingRule, Trim
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics, padding_share
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, internal
from slipway.instances.execution import execute
from slipway.scheduling.batcher import BatchRules, Dispatch
from slipway.scheduling.factory import build_scheduler
from slipway.scheduling.length_batcher import LengthBatcher
from slipway.scheduling.lengths import length_key
from slipway.scheduling.queue import RequestQueue
from tests.scheduling.fakes import Client, HeldInstance

RULE = PaddingRule(
    (PaddedInput("ids", -7, (1,)), PaddedInput("mask", 0, (1,)), PaddedInput("grid", -3, (1, 3))),
    (Trim("hidden", 1, "ids", 1), Trim("turned", 1, "grid", 3), Trim("turned", 3, "grid", 1)),
    max_share=0.3,
)
IDS = {"ids": TensorSpec("ids", "INT64", (-1,)), "mask": TensorSpec("mask", "UINT8", (-1,))}
GRID = TensorSpec("grid", "INT32", (-1, 2, -1), reshape=(-1, -1, 2), optional=True)
WEIGHT = TensorSpec("weight", "INT64", (1,), reshape=())
OUTPUTS = (
    TensorSpec("pooled", "INT64", (1,), reshape=()),
    TensorSpec("hidden", "INT64", (-1,)),
    TensorSpec("turned", "INT32", (-1, 2, -1)),
)


def signature(rule=RULE):
    return ModelSignature(
        "m",
        6,
        {**IDS, "grid": GRID, "weight": WEIGHT},
        {output.name: output for output in OUTPUTS},
        required_inputs=frozenset(["ids", "mask", "weight"]),
        padding=rule,
    )


def model(inputs, names):
    """Compute each row from its own unmasked ids alone; transpose a grid."""
    ids, mask = inputs["ids"], inputs["mask"].astype(np.int64)
    pooled = (ids * mask).sum(1) * inputs["weight"]
    outputs = {"pooled": pooled, "hidden": ids * mask * 3 + pooled[:, None]}
    if "grid" in inputs:
        grid = inputs["grid"]
        rows, tall, wide, _ = grid.shape
        outputs["turned"] = grid.reshape(rows, tall, 2, wide).transpose(0, 3, 2, 1)
    return {name: outputs[name] for name in names if name in outputs}


@st.composite
def requests(draw):
    rows, length = draw(st.integers(0, 4)), draw(st.one_of(st.integers(0, 4), st.integers(8, 12)))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = {
        "ids": numbers.integers(-(2**40), 2**40, (rows, length), dtype=np.int64),
        "mask": numbers.integers(0, 2, (rows, length), dtype=np.uint8),
        "weight": numbers.integers(1, 9, (rows, 1), dtype=np.int64),
    }
    if draw(st.booleans()):
        tall, wide = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        arrays["grid"] = numbers.integers(-99, 99, (rows, tall, 2, wide), dtype=np.int32)
    if draw(st.integers(0, 9)) == 0:  # a request that fails alone must not succeed because of its batch
        arrays["mask"] = np.ones((rows, length + draw(st.sampled_from([1, 2]))), dtype=np.uint8)
    return {name: Tensor.from_array(name, array) for name, array in arrays.items()}


def pending_of(tensors, answers=None):
    place = [] if answers is None else answers
    return Pending(InferRequest("m", inputs=tensors), tensors["ids"].shape[0], 0, None, place.append)


def run(inputs, names):
    try:
        return model(inputs, names)
    except ValueError as error:
        raise internal(str(error), reason=FailureReason.BACKEND) from error


def values(response):
    if response.error is not None:
        return response.error.message
    return {tensor.name: (tensor.datatype, tensor.shape, bytes(tensor.raw)) for tensor in response.outputs}


@settings(max_examples=300)
@given(
    st.lists(st.one_of(requests(), st.none()), min_size=1, max_size=25),
    st.sampled_from([0, 5]),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    st.sampled_from([0, 24]),
    st.sampled_from([1, 4]),
)
def test_any_mixture_in_any_order_of_arrival_is_answered_as_each_request_alone(arrivals, delay, share, most, step):
    rule = replace(RULE, step=step)
    own = signature(rule)
    executor = StackedExecutor(own, 1, run)
    line = LengthBatcher(BatchRules(6, max_delay=delay), RequestQueue(), max_share=share, max_tokens=most)
    measure = length_key(own, rule)
    waiting, answered = [], {}

    def serve(now):
        while isinstance(decision := line.poll(now), Dispatch):
            batch = decision.items
            assert waiting[0] in batch
            rows = sum(each.rows for each in batch)
            lengths = [each.merge_key.tokens for each in batch]
            tokens = rows * max(lengths)
            content = sum(each.rows * length for each, length in zip(batch, lengths, strict=True))
            assert sum(max(1, each.rows) for each in batch) <= 6
            assert tokens - content <= share * tokens
            assert len(batch) == 1 or not most or tokens <= most
            for each, response in zip(batch, answers(executor, batch), strict=True):
                assert each not in answered
                answered[each] = response
                waiting.remove(each)

    for now, tensors in enumerate(arrivals):
        if tensors is None:  # an instance is free
            serve(now)
            continue
        pending = pending_of(tensors)
        pending.merge_key = measure(pending)
        line.push(pending, now)
        waiting.append(pending)
    serve(math.inf)
    assert not waiting
    assert len(answered) == sum(tensors is not None for tensors in arrivals)
    for pending, response in answered.items():
        assert values(response) == values(answers(executor, [pending])[0])


def answers(executor, batch):
    """Return the responses of one execution."""
    return execute(executor, batch, "m_0").responses


def scheduled(instance, *, rule=RULE, **batching):
    config = model_config_pb2.ModelConfig(name="m", max_batch_size=6)
    config.dynamic_batching.CopyFrom(model_config_pb2.ModelDynamicBatching(**batching))
    statistics = ModelStatistics()
    return Client(build_scheduler(config, signature(rule), [instance], statistics, "1")), statistics


def text(length, rows=1):
    arrays = {
        "ids": np.full((rows, length), length, np.int64),
        "mask": np.ones((rows, length), np.uint8),
        "weight": np.ones((rows, 1), np.int64),
    }
    return {"inputs": {name: Tensor.from_array(name, array) for name, array in arrays.items()}, "outputs": ("pooled",)}


def test_the_scheduler_of_a_model_with_the_rule_groups_by_length_and_counts_padding():
    async def main():
        instance = HeldInstance()
        client, statistics = scheduled(instance)
        for name, length in [("first", 5), ("a", 10), ("z", 50), ("b", 8), ("c", 10)]:
            client.send(name, **text(length))
        executor = StackedExecutor(signature(), 1, run)
        while instance.started:
            batch = instance.started[0][0]
            instance.finish(list(answers(executor, batch)))
        assert instance.batches == [["first"], ["a", "c", "b"], ["z"]]
        assert (statistics.tokens.own, statistics.tokens.padding) == (5 + 28 + 50, 2)
        assert padding_share(statistics) == 2 / 85
        assert {name: client.output(name, "pooled") for name in "abcz"} == {
            "a": [[100]], "b": [[64]], "c": [[100]], "z": [[2500]]
        }  # fmt: skip

    asyncio.run(main())


def test_answers_keep_the_order_of_arrival_where_it_is_asked_for():
    async def main():
        instance = HeldInstance()
        client, _ = scheduled(instance, preserve_ordering=True)
        for name, length in [("first", 5), ("a", 10), ("z", 50), ("b", 10), ("y", 50)]:
            client.send(name, **text(length))
        executor = StackedExecutor(signature(), 1, run)
        while instance.started:
            instance.finish(list(answers(executor, instance.started[0][0])))
        assert instance.batches == [["first"], ["a", "b"], ["z", "y"]]
        assert client.order == ["first", "a", "z", "b", "y"]

    asyncio.run(main())


def test_without_the_rule_lengths_are_not_mixed_and_no_tokens_are_counted():
    async def main():
        instance = HeldInstance()
        client, statistics = scheduled(instance, rule=None)
        for name, length in [("first", 5), ("a", 10), ("b", 11)]:
            client.send(name, **text(length))
        instance.finish([InferResponse()])
        assert instance.batches == [["first"], ["a"]]
        assert statistics.tokens is None

    asyncio.run(main())


def test_a_batch_that_fails_is_run_again_one_by_one_without_padding():
    shapes = []

    def fails_on_ten(inputs, names):
        shapes.append(inputs["ids"].shape)
        if (inputs["ids"] == 10).any():
            raise internal("ten", reason=FailureReason.BACKEND)
        return model(inputs, names)

    executor = StackedExecutor(signature(), 1, fails_on_ten)
    batch = [pending_of(text(length)["inputs"]) for length in (10, 9, 11)]
    responses = answers(executor, batch)
    assert shapes == [(3, 11), (1, 10), (1, 9), (1, 11)]
    assert [response.error and response.error.message for response in responses] == ["ten", None, None]
    assert [tensor.shape for tensor in responses[1].outputs] == [(1, 1), (1, 9)]


def test_instances_get_the_requests_of_a_group_unpadded():
    async def main():
        instance = HeldInstance()
        client, _ = scheduled(instance)
        for name, length in [("first", 5), ("a", 10), ("b", 9)]:
            client.send(name, **text(length))
        instance.finish([InferResponse()])
        ((batch, _),) = instance.started
        assert [each.request.inputs["ids"].shape for each in batch] == [(1, 10), (1, 9)]

    asyncio.run(main())
