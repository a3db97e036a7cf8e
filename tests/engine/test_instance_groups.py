"""A reload that changes only the instance groups keeps the loaded model and the instances that both configs have."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from slipway.backends.onnxruntime.backend import LoadedOnnxModel
from slipway.config.host_policy import HostPolicy
from tests.kits.engine import adder, answer, explicit, identity, onnx_file, rows, touch, until

# Answers with its process and its own number of executions; `slow` seconds pass in each.
MODEL = """
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        if os.path.exists(os.path.join(args["model_repository"], "..", "full")):
            raise RuntimeError("no room")
        self.executions = 0

    def execute(self, requests):
        self.executions += 1
        answers = []
        for request in requests:
            time.sleep(float(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0, 0]))
            output = pb_utils.Tensor("OUTPUT0", np.array([[os.getpid(), self.executions]], np.float32))
            answers.append(pb_utils.InferenceResponse([output]))
        return answers
"""
IO = """
backend: "python"
max_batch_size: 8
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
"""


def groups(count, extra=""):
    return f"{IO}instance_group [ {{ kind: KIND_CPU count: {count} }} ]\n{extra}"


def python(repository, config):
    path = identity(repository, "m", config=config)
    (path / "1" / "model.py").write_text(MODEL)
    touch(path / "1" / "model.py", 10**9)
    return path


def serving(repository):
    return explicit(repository, load_model=("m",), disable_auto_complete_config=True)


async def reload(engine, path, config):
    (path / "config.pbtxt").write_text(config)
    await engine.load_model("m", None, {})


def answered(engine):
    """Return how many requests the statistics count."""
    (model,) = engine.model_statistics("m", "")
    return model.statistics.success.count


async def processes(engine, number):
    """Return the processes of the model's instances, which all execute at the same time."""
    found = await asyncio.gather(*(answer(engine, "m", values=(0.02, 0.0)) for _ in range(number)))
    return {process for process, _ in found}


def test_instances_are_added_and_removed_and_the_others_go_on(tmp_path):
    path = python(tmp_path, groups(2))

    async def scenario():
        async with serving(tmp_path) as engine:
            before = await processes(engine, 2)
            assert len(before) == 2
            await reload(engine, path, groups(3))
            more = await processes(engine, 3)
            assert before < more
            assert len(more) == 3
            await reload(engine, path, groups(1))
            process, executions = await answer(engine, "m", values=(0.0, 0.0))
            assert process in before
            assert executions > 1
            assert rows(engine, "m") == ["1 READY"]
            assert answered(engine) == 6

    asyncio.run(scenario())


def test_requests_are_answered_all_through_a_change(tmp_path):
    path = python(tmp_path, groups(1))

    async def scenario():
        async with serving(tmp_path) as engine:
            first, stop, seen = (await answer(engine, "m", values=(0.0, 0.0)))[0], False, []

            async def client():
                while not stop:
                    seen.append((await answer(engine, "m", values=(0.001, 0.0)))[0])

            clients = [asyncio.create_task(client()) for _ in range(4)]
            for count in (3, 2, 1):
                await reload(engine, path, groups(count))
            stop = True
            await asyncio.gather(*clients)
            assert first in seen
            assert (await answer(engine, "m", values=(0.0, 0.0)))[0] == first

    asyncio.run(scenario())


def test_a_config_that_changes_in_anything_else_is_loaded_anew(tmp_path):
    path = python(tmp_path, groups(1))

    async def scenario():
        async with serving(tmp_path) as engine:
            before = await processes(engine, 1)
            await reload(engine, path, groups(1, "dynamic_batching { }"))
            after = await processes(engine, 1)
            assert after.isdisjoint(before)
            touch(path / "1" / "model.py", 2 * 10**9)
            await reload(engine, path, groups(2, "dynamic_batching { }"))
            assert (await processes(engine, 2)).isdisjoint(after)

    asyncio.run(scenario())


def test_a_config_sent_with_the_load_changes_instances_too(tmp_path):
    python(tmp_path, groups(1))

    async def scenario():
        async with serving(tmp_path) as engine:
            before = await processes(engine, 1)
            config = engine.model_config("m", "")
            tensors = [{"name": name, "data_type": "TYPE_FP32", "dims": [-1]} for name in ("INPUT0", "OUTPUT0")]
            text = {
                "backend": "python",
                "max_batch_size": config.max_batch_size,
                "input": tensors[:1],
                "output": tensors[1:],
                "instance_group": [{"kind": "KIND_CPU", "count": 2}],
            }
            await engine.load_model("m", json.dumps(text), {})
            assert before < await processes(engine, 2)

    asyncio.run(scenario())


def test_an_instance_that_cannot_be_added_leaves_the_others_serving(tmp_path):
    path = python(tmp_path, groups(1))

    async def scenario():
        async with serving(tmp_path) as engine:
            before = await processes(engine, 1)
            (tmp_path / "full").touch()
            with pytest.raises(Exception, match="no room"):
                await reload(engine, path, groups(2))
            assert await processes(engine, 1) == before

    asyncio.run(scenario())


def test_the_weights_of_a_graph_are_kept_and_released_with_the_last_version(tmp_path, monkeypatch):
    path = adder(tmp_path, "m", [1], config="instance_group [ { count: 1 } ]")
    unloaded = []

    def unload(model):
        unloaded.append(model)

    monkeypatch.setattr(LoadedOnnxModel, "unload", unload)

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            for count in (3, 2):
                await reload(engine, path, f"instance_group [ {{ count: {count} }} ]")
                assert await answer(engine, "m") == [2.0, 3.0]
            onnx_file(path / "1" / "model.onnx", add=5)
            touch(path / "1" / "model.onnx", 1)
            assert not unloaded
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [6.0, 7.0]
            await until(lambda: len(unloaded) == 1)
        first, second = unloaded
        assert first is not second

    asyncio.run(scenario())


def test_a_graph_whose_threads_get_other_cpus_is_loaded_anew(tmp_path, monkeypatch):
    path = adder(tmp_path, "m", [1], config="instance_group [ { count: 1 } ]")
    unloaded = []

    def unload(model):
        unloaded.append(model)

    monkeypatch.setattr(LoadedOnnxModel, "unload", unload)
    here = frozenset(os.sched_getaffinity(0))

    async def scenario():
        async with explicit(tmp_path, load_model=("m",), host_policy={"here": HostPolicy(cores=here)}) as engine:
            await reload(engine, path, 'instance_group [ { count: 1 host_policy: "here" } ]')
            await until(lambda: len(unloaded) == 1)
            await reload(engine, path, 'instance_group [ { count: 2 host_policy: "here" } ]')
            assert await answer(engine, "m") == [2.0, 3.0]
        assert len(unloaded) == 2

    asyncio.run(scenario())
