"""Instances run on the CPUs of their host policy, wherever their backend runs them."""

from __future__ import annotations

import asyncio
import os

import pytest

from slipway.config.host_policy import HostPolicy
from tests.kits.engine import adder, answer, explicit, identity

OWN = sorted(os.sched_getaffinity(0))
LAST = HostPolicy(cores=frozenset(OWN[-1:]))
NOWHERE = HostPolicy(cores=frozenset({8000}))
# Answers with the CPUs of its own thread, of a thread that it starts, and the threads that it may use.
MODEL = """
import os
import threading
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.cpus = []
        thread = threading.Thread(target=self.look)
        thread.start()
        thread.join()

    def look(self):
        self.cpus += sorted(os.sched_getaffinity(0))

    def execute(self, requests):
        seen = [*self.cpus, -1, *sorted(os.sched_getaffinity(0)), -1, int(os.environ.get("OMP_NUM_THREADS", 0))]
        output = pb_utils.Tensor("OUTPUT0", np.array([seen], np.float32))
        return [pb_utils.InferenceResponse([output]) for _ in requests]
"""
IO = """
backend: "python"
max_batch_size: 8
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
"""


def python(repository, name, *, mode="process", group=""):
    mode = f'parameters {{ key: "EXECUTION_MODE" value {{ string_value: "{mode}" }} }}\n'
    identity(repository, name, config=f"{IO}{mode}instance_group [ {{ kind: KIND_CPU {group} }} ]\n")
    (repository / name / "1" / "model.py").write_text(MODEL)


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_python_model_and_its_threads_run_on_the_cpus_of_the_policy(tmp_path, mode):
    python(tmp_path, "pinned", mode=mode, group='host_policy: "last"')
    python(tmp_path, "free", mode=mode)

    async def scenario():
        async with explicit(tmp_path, host_policy={"last": LAST}) as engine:
            for name, expected in (("pinned", OWN[-1:]), ("free", OWN)):
                await engine.load_model(name, None, {})
                seen = await answer(engine, name)
                assert seen[:-1] == [*expected, -1, *expected, -1]
                assert mode == "thread" or seen[-1] == len(expected)
        assert sorted(os.sched_getaffinity(0)) == OWN

    asyncio.run(scenario())


def test_a_group_without_a_policy_has_that_of_all_cpu_instances(tmp_path):
    python(tmp_path, "m")

    async def scenario():
        async with explicit(tmp_path, host_policy={"cpu": LAST, "model": NOWHERE}) as engine:
            await engine.load_model("m", None, {})
            assert (await answer(engine, "m"))[0] == OWN[-1]

    asyncio.run(scenario())


def test_the_threads_of_a_graph_get_the_cpus_that_its_instances_share(tmp_path, caplog):
    adder(tmp_path, "m", [1], config='instance_group [ { host_policy: "last" }, { host_policy: "last" } ]')
    caplog.set_level("INFO", "slipway.engine")

    async def scenario():
        async with explicit(tmp_path, host_policy={"last": LAST}) as engine:
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == [2.0, 3.0]

    asyncio.run(scenario())
    assert f"'m' version 1: 2 x CPU, 1 thread each, on CPUs {OWN[-1]}" in caplog.messages


def test_cpus_and_nodes_that_are_not_there_fail_the_load_alone(tmp_path):
    for name in ("nowhere", "node", "m"):
        python(tmp_path, name, group=f'host_policy: "{name}"')

    async def scenario():
        policies = {"nowhere": NOWHERE, "node": HostPolicy(node=8000), "m": LAST}
        async with explicit(tmp_path, host_policy=policies) as engine:
            with pytest.raises(Exception, match=r"Unable to set NUMA thread affinity: Invalid argument \(CPUs 8000\)"):
                await engine.load_model("nowhere", None, {})
            with pytest.raises(Exception, match="this machine does not have the NUMA node 8000"):
                await engine.load_model("node", None, {})
            await engine.load_model("m", None, {})
            assert (await answer(engine, "m"))[0] == OWN[-1]

    asyncio.run(scenario())


def test_a_policy_without_effect_is_named(tmp_path, caplog):
    identity(tmp_path, "inline", extra='instance_group [ { host_policy: "last" } ]')
    identity(tmp_path, "unknown", extra='instance_group [ { host_policy: "other" } ]')

    async def scenario():
        async with explicit(tmp_path, host_policy={"last": LAST}) as engine:
            for name in ("inline", "unknown"):
                await engine.load_model(name, None, {})
                assert await answer(engine, name) == [1.0, 2.0]

    asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "model 'inline': the host policy has no effect, because the model runs on the event loop",
        "model 'unknown': host_policy 'other' has no effect without --host-policy=other,cpu-cores=RANGES",
    ]
