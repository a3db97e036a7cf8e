"""Answered requests are freed by reference counting alone, so that the garbage collector is rarely needed."""

from __future__ import annotations

import asyncio
import gc
import itertools

import grpc
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2

from slipway.rpc.in_flight import InFlight
from slipway.rpc.inference import UnaryInference
from slipway.rpc.stream import InferStream
from tests.rpc.models import dataplane


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


MEGABYTE = 2**20


def left_to_collect() -> list[str]:
    """Return the types of our objects that only the collector frees; other threads of the process may leave others."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    kinds = [type(each) for each in gc.garbage]
    gc.garbage.clear()
    return [kind.__qualname__ for kind in kinds if kind.__module__.startswith(("slipway.", "tests.rpc."))]


def test_refused_requests_do_not_pile_up_in_memory(server):
    body = payload("identity", np.zeros((1, 8 * MEGABYTE), np.uint8))
    memory = psutil.Process().memory_info
    with grpc.insecure_channel(server.url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        def refuse():
            with pytest.raises(grpc.RpcError, match="byte size mismatch"):
                infer(body, timeout=20)

        refuse()
        before = memory().rss
        for _ in range(20):
            refuse()
    assert memory().rss - before < 80 * MEGABYTE


def payload(model, array, name="INPUT0", datatype="FP32"):
    message = service_pb2.ModelInferRequest(model_name=model)
    message.inputs.add(name=name, datatype=datatype, shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message.SerializeToString()


def test_model_infer_leaves_no_cycles_answered_or_refused():
    async def run():
        plane, all_answered, answered = dataplane(), asyncio.Event(), itertools.count(1)

        def reply(call, payload, error):
            if next(answered) == 80:
                all_answered.set()

        inference = UnaryInference(plane, InFlight(), reply)
        for _ in range(20):
            for model in ("identity", "failing", "nope"):
                inference.start(1, payload(model, np.ones((1, 2), np.float32)))
            inference.start(1, payload("late", np.zeros(1, np.float32)))
        await all_answered.wait()
        plane.requests.clear()
        return left_to_collect()

    assert asyncio.run(run()) == []


def test_a_stream_leaves_no_cycles_once_its_requests_are_answered():
    async def run():
        plane = dataplane()
        stream = InferStream(plane, InFlight(), errors_end_stream=False)
        for _ in range(20):
            for model in ("identity", "nope", "early"):
                stream.receive(payload(model, np.ones((1, 2), np.float32)))
            stream.receive(payload("count", np.array([2], np.int32), "N", "INT32"))
        stream.end_input()
        while await stream.next_answer() is not None:
            plane.requests.clear()
        return left_to_collect()

    assert asyncio.run(run()) == []
