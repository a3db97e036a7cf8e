"""A Python model that serves sequences: what it remembers of one never reaches another, even when its process dies."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import numpy as np

from slipway.backends.python.process.server_link import ChildProcess
from slipway.core.request import SEQUENCE_START, InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from tests.backends.python.engine_kit import FLOAT_IO, float_request, methods, served, write_model

START = SEQUENCE_START
UNHEALTHY = "Failed to process the request(s) for model instance 'm_0', message: Stub process 'm_0' is not healthy."
LOST = "the sequence was lost with the process of its instance of model 'm'; start it again"
SEQUENCES = """sequence_batching { max_sequence_idle_microseconds: 100000000 %s control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
  { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } ] } ] }"""
BY_ROW = methods("""
    def initialize(self, args): self.rows = {}

    def execute(self, requests):
        def value(request, name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel()[0]
        answers = []
        for row, request in enumerate(requests):
            word = value(request, "IN").decode()
            if word == "exit": os._exit(1)
            if value(request, "START"): self.rows[row] = ""
            if value(request, "READY"): self.rows[row] = self.rows.get(row, "?") + word
            array = np.array([[self.rows.get(row, "")]], dtype=np.object_)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]))
        return answers
""")


def test_a_sequence_keeps_its_row_beside_a_request_that_may_have_killed_the_process(tmp_path):
    direct = "direct { max_queue_delay_microseconds: 10000000 minimum_slot_utilization: 1 }"
    write_model(tmp_path, "m", BY_ROW, config=SEQUENCES % direct, batch=2)

    async def scenario(engine):
        async def ask(sequence, word, flags):
            array = np.array([[word.encode()]], dtype=np.object_)
            tensor = Tensor.from_array("IN", array)
            request = InferRequest("m", inputs={"IN": tensor}, correlation_id=sequence, flags=flags)
            try:
                return (await engine.infer(request)).outputs[0].array[0, 0].decode()
            except SlipwayError as error:
                return error.message

        async def both(one, other, flags=0):
            return await asyncio.gather(ask(1, one, flags), ask(2, other, flags))

        assert await both("a", "b", START) == ["a", "b"]
        assert await both("x", "exit") == [UNHEALTHY] * 2
        assert await both("x", "y") == [LOST] * 2
        assert await both("a", "b", START) == ["a", "b"]
        assert await both("x", "y") == ["ax", "by"]  # x is a suspect
        assert await both("z", "z") == ["axz", "byz"]

    served(tmp_path, scenario)


ADDING = methods("""
    def initialize(self, args): self.total = 0.0

    def execute(self, requests):
        self.total += float(requests[0].inputs()[0].as_numpy()[0])
        array = np.array([self.total, os.getpid()], np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
""")


def test_a_large_request_of_a_sequence_does_not_go_on_in_the_next_process(tmp_path, monkeypatch):
    write_model(tmp_path, "m", ADDING, io=FLOAT_IO, config=SEQUENCES % "oldest { }")
    packing, killed = threading.Event(), threading.Event()
    pack = ChildProcess.pack

    def pack_slowly(child, message, blobs):
        if sum(map(len, blobs)) > 4 << 20:
            packing.set()
            assert killed.wait(20)
        return pack(child, message, blobs)

    monkeypatch.setattr(ChildProcess, "pack", pack_slowly)

    async def scenario(engine):
        async def ask(count, flags=0):
            array = np.full(count, 1, np.float32)
            return (await engine.infer(float_request("m", array, correlation_id=1, flags=flags))).outputs[0].array

        total, pid = await ask(1, START)
        assert total == 1
        large = asyncio.create_task(ask(2 << 20))
        assert await asyncio.to_thread(packing.wait, 20)
        os.kill(int(pid), signal.SIGKILL)
        try:
            async with asyncio.timeout(15):
                (outcome,) = await asyncio.gather(large, return_exceptions=True)
        finally:
            killed.set()
        assert isinstance(outcome, SlipwayError)
        assert outcome.message == UNHEALTHY
        assert (await ask(1, START))[0] == 1

    served(tmp_path, scenario)
