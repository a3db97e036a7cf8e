"""A Python model in a child process: it may die, hang on, or send much; the server and other requests do not care."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from slipway.config.options import ServerOptions
from slipway.core.model_id import ModelId
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.engine.dataplane import Engine
from slipway.errors import SlipwayError

ECHO = """
import os
import time
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            array = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            if array.size == 1 and array.ravel()[0] == -1:
                os._exit(3)
            if array.size == 1 and array.ravel()[0] == -2:
                time.sleep(0.2)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]))
        return responses
"""
CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }
instance_group { kind: KIND_CPU count: %d }
"""


@asynccontextmanager
async def echo(directory, count=1, source=ECHO):
    version = directory / "echo" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(source)
    (directory / "echo" / "config.pbtxt").write_text(CONFIG % count)
    engine = Engine(ServerOptions(model_repository=(directory,)), version="0")
    assert not await engine.start()
    try:
        yield engine
    finally:
        assert await engine.shutdown(20)


async def ask(engine, *values):
    array = np.array(values, np.float32)
    response = await engine.infer(InferRequest("echo", inputs={"IN": Tensor.from_array("IN", array)}))
    return response.outputs[0].array.tolist()


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def eventually_ready(engine):
    async with asyncio.timeout(20):
        while not await engine.model_ready("echo", ""):  # noqa: ASYNC110  the engine offers no event for it
            await asyncio.sleep(0.01)


def test_killing_the_process_under_load_fails_only_the_requests_inside_it(tmp_path, children):
    async def run():
        async with echo(tmp_path) as engine:
            results = []

            async def client(number):
                for index in range(40):
                    try:
                        assert await ask(engine, number, index) == [number, index]
                        results.append("")
                    except SlipwayError as error:
                        results.append(error.message)

            tasks = [asyncio.create_task(client(number)) for number in range(8)]
            while len(results) < 80:  # noqa: ASYNC110  any moment in the middle of the load will do
                await asyncio.sleep(0.001)
            (victim,) = children()
            os.kill(victim, signal.SIGKILL)
            await asyncio.gather(*tasks)
            failed = [result for result in results if result]
            assert len(results) == 320
            assert len(failed) <= 1
            text = "message: Stub process 'echo_0_0' is not healthy."
            assert all(message.endswith(text) for message in failed)
            assert victim not in children()

    asyncio.run(run())


def test_a_process_that_ends_itself_answers_its_request_and_is_replaced(tmp_path):
    async def run():
        async with echo(tmp_path) as engine:
            with pytest.raises(SlipwayError, match="Stub process 'echo_0_0' is not healthy"):
                await ask(engine, -1)
            assert not await engine.model_ready("echo", "")
            assert await ask(engine, 5) == [5]
            assert await engine.model_ready("echo", "")

    asyncio.run(run())


def test_other_instances_serve_on_while_one_is_replaced(tmp_path, children):
    async def run():
        async with echo(tmp_path, count=2) as engine:
            os.kill(children()[0], signal.SIGKILL)
            answers = await asyncio.gather(*(ask(engine, value) for value in range(20)), return_exceptions=True)
            assert sum(isinstance(answer, SlipwayError) for answer in answers) <= 1
            await eventually_ready(engine)

    asyncio.run(run())


def test_a_large_tensor_goes_there_and_back(tmp_path):
    async def run():
        async with echo(tmp_path) as engine:
            array = np.arange(16 << 20, dtype=np.float32)
            request = InferRequest("echo", inputs={"IN": Tensor.from_array("IN", array)})
            response = await engine.infer(request)
            assert np.array_equal(response.outputs[0].array, array)

    asyncio.run(run())


def test_many_requests_leave_no_descriptor_behind(tmp_path):
    async def run():
        async with echo(tmp_path) as engine:
            large = np.zeros(64 << 10, np.float32)

            async def some(count):
                for _ in range(count):
                    await ask(engine, 1)
                    await engine.infer(InferRequest("echo", inputs={"IN": Tensor.from_array("IN", large)}))

            await asyncio.gather(*(some(20) for _ in range(4)))
            before = open_descriptors()
            await asyncio.gather(*(some(50) for _ in range(4)))
            assert open_descriptors() <= before + 8  # pieces of shared memory, as many as were ever in use at once

    asyncio.run(run())


def test_shutting_down_leaves_no_process_behind(tmp_path, children):
    async def run():
        async with echo(tmp_path, count=3) as engine:
            assert len(children()) == 3
            await ask(engine, 1)

    asyncio.run(run())
    assert children() == []


def test_what_was_accepted_is_answered_before_the_process_ends(tmp_path):
    async def run():
        async with echo(tmp_path) as engine:
            slow = asyncio.create_task(ask(engine, -2))
            await asyncio.sleep(0.05)
            assert await engine.shutdown(20)
            assert await slow == [-2]

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_says_why_without_the_servers_paths(tmp_path):
    version = tmp_path / "echo" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "echo" / "config.pbtxt").write_text(CONFIG % 1)

    async def run():
        engine = Engine(ServerOptions(model_repository=(tmp_path,)), version="0")
        failed = await engine.start()
        await engine.shutdown(5)
        return failed[ModelId("", "echo")].detail

    detail = asyncio.run(run())
    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in detail
    assert "1/model.py(1)" in detail
    assert str(tmp_path) not in detail


def test_the_child_dies_with_the_server(tmp_path):
    """A server that is killed leaves no model running."""
    version = tmp_path / "echo" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(ECHO)
    (tmp_path / "echo" / "config.pbtxt").write_text(CONFIG % 1)
    import subprocess
    import sys

    flags = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "slipway", "serve", str(tmp_path), *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        for line in server.stderr:
            if "Started Metrics Service" in line:
                break
        tasks = Path(f"/proc/{server.pid}/task").glob("*/children")
        (child,) = [int(pid) for task in tasks for pid in task.read_text().split()]
        server.kill()
        server.stderr.read()
    for _ in range(1000):
        if not Path(f"/proc/{child}").exists():
            return
        os.sched_yield()
        asyncio.run(asyncio.sleep(0.01))
    pytest.fail("the child is still there")
