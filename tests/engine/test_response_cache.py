"""Models with `response_cache` on a server with and without a cache; loads, reloads and ensembles."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from slipway.config.options import ServerOptions
from slipway.core.model_id import ModelId
from slipway.core.request import SEQUENCE_START, InferRequest
from slipway.core.tensor import Tensor
from slipway.engine.caching import Caching, EnsembleIdentity
from slipway.engine.serving import ServingTable
from slipway.engine.source import LoadRequest, read_source
from slipway.engine.states import StateTable
from slipway.response_cache.local import LocalCache
from tests.kits.engine import adder, answer, delay, ensemble, explicit, identity, onnx_file, request, serving, touch

CACHED = "response_cache { enable: true }\n"
LOCAL = {"cache_config": {"local": {"size": "1000000"}}}
TEXT = (
    "Response Cache does not currently support model e with 'decoupled' transaction policy. Please disable the "
    "response cache."
)


def run(scenario):
    asyncio.run(scenario())


def counted(engine, name):
    """Return a model's hits, misses and executions."""
    (version,) = engine.model_statistics(name, "")
    statistics = version.statistics
    return statistics.cache_hit.count, statistics.cache_miss.count, statistics.execution_count


def test_a_model_is_executed_once_for_equal_requests(tmp_path):
    identity(tmp_path, "m", extra=CACHED)
    identity(tmp_path, "plain")

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            for name in ("m", "plain"):
                for _ in range(3):
                    assert await answer(engine, name) == [1.0, 2.0]
            assert counted(engine, "m") == (2, 1, 1)
            assert counted(engine, "plain") == (0, 0, 3)
            assert engine.cache_report().entries == 1

    run(scenario)


def test_without_a_cache_the_model_serves_and_the_log_names_it(tmp_path, caplog):
    identity(tmp_path, "m", extra=CACHED)

    async def scenario():
        async with serving(tmp_path) as engine:
            for _ in range(2):
                assert await answer(engine, "m") == [1.0, 2.0]
            assert counted(engine, "m") == (0, 0, 2)
            assert engine.cache_report() is None

    run(scenario)
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert lines == ["model 'm': response_cache has no effect without --cache-config"]


def test_a_batched_model_answers_hits_at_once_and_the_rest_in_batches(tmp_path):
    identity(tmp_path, "m", extra=CACHED + "dynamic_batching { }\n" + delay(20))

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            await answer(engine, "m", values=(0.0,))
            values = [(float(number % 4),) for number in range(8)]
            answers = await asyncio.gather(*(answer(engine, "m", values=each) for each in values))
            assert answers == [list(each) for each in values]
            assert counted(engine, "m")[0] >= 2

    run(scenario)


def test_versions_do_not_share_responses(tmp_path):
    config = 'backend: "onnxruntime"\nmax_batch_size: 4\nversion_policy { all { } }\n' + CACHED
    adder(tmp_path, "m", (1, 2), config)

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            for _ in range(2):
                assert await answer(engine, "m", "1") == [2.0, 3.0]
                assert await answer(engine, "m", "2") == await answer(engine, "m") == [3.0, 4.0]

    run(scenario)


def test_a_reload_never_gives_an_old_response(tmp_path):
    adder(tmp_path, "m", (1,), 'backend: "onnxruntime"\nmax_batch_size: 4\n' + CACHED)

    async def scenario():
        async with explicit(tmp_path, load_model=("m",), **LOCAL) as engine:
            assert await answer(engine, "m") == await answer(engine, "m") == [2.0, 3.0]
            onnx_file(tmp_path / "m" / "1" / "model.onnx", add=10)
            await engine.load_model("m", None, {})
            assert await answer(engine, "m") == await answer(engine, "m") == [11.0, 12.0]

    run(scenario)


def test_an_ensemble_is_answered_without_its_steps(tmp_path):
    identity(tmp_path, "a", extra=CACHED)
    ensemble(tmp_path, "e", "a", "a", config_extra=CACHED)

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            for _ in range(3):
                assert await answer(engine, "e") == [1.0, 2.0]
            assert counted(engine, "e") == (2, 1, 1)
            assert counted(engine, "a") == (1, 1, 1)  # the second step asks what the first one did

    run(scenario)


def test_a_step_that_is_answered_from_the_cache_costs_an_ensemble_no_compute_time(tmp_path):
    identity(tmp_path, "a", extra=CACHED + delay(30))
    ensemble(tmp_path, "e", "a")

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            await answer(engine, "a")
            await answer(engine, "e")
            (version,) = engine.model_statistics("e", "")
            assert version.statistics.success.count == 1
            assert version.statistics.compute_infer.ns == 0

    run(scenario)


@pytest.mark.parametrize("outer", ["e", "around"])
def test_a_reload_of_a_step_never_gives_an_ensembles_old_response(tmp_path, outer):
    config = """backend: "onnxruntime" max_batch_size: 4
        input { name: "INPUT0" data_type: TYPE_FP32 dims: [ 2 ] }
        output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 2 ] }"""
    adder(tmp_path, "m", (1,), config)
    for name, step in (("e", "m"), ("around", "e")):
        directory = ensemble(tmp_path, name, step, config_extra=CACHED if name == outer else "")
        text = (directory / "config.pbtxt").read_text().replace("[ -1 ]", "[ 2 ]")
        (directory / "config.pbtxt").write_text(text)

    async def scenario():
        async with explicit(tmp_path, load_model=("around",), **LOCAL) as engine:
            assert await answer(engine, outer) == await answer(engine, outer) == [2.0, 3.0]
            onnx_file(tmp_path / "m" / "1" / "model.onnx", add=10)
            await engine.load_model("m", None, {})
            assert await answer(engine, outer) == await answer(engine, outer) == [11.0, 12.0]
            assert counted(engine, outer) == (2, 2, 2)

    run(scenario)


REPEAT = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            request.get_response_sender().send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def test_an_ensemble_with_a_decoupled_step_is_refused(tmp_path):
    config = """backend: "python" max_batch_size: 4
        input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
        output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
        model_transaction_policy { decoupled: true }
        parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }"""
    identity(tmp_path, "d", config=config)
    (tmp_path / "d" / "1" / "model.py").write_text(REPEAT)
    ensemble(tmp_path, "e", "d", config_extra=CACHED)

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            assert list(engine.failed) == ["e"]
            assert TEXT in engine.failed["e"].detail

    run(scenario)


def test_a_model_sees_the_sequence_fields_so_they_are_part_of_the_key(tmp_path):
    identity(tmp_path, "m", extra=CACHED)

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            for number in (1, 2, 1):
                await engine.infer(request("m", correlation_id=number))
            assert counted(engine, "m") == (1, 2, 2)

    run(scenario)


SUM = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        answers = []
        for request in requests:
            key = request.correlation_id()
            before = 0 if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START else self.sums[key]
            self.sums[key] = before + pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", self.sums[key])]))
        return answers
"""


def test_an_ensemble_passes_every_request_of_a_sequence_on(tmp_path):
    config = """backend: "python" max_batch_size: 4
        input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
        output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
        sequence_batching { oldest { } }
        parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }"""
    identity(tmp_path, "s", config=config)
    (tmp_path / "s" / "1" / "model.py").write_text(SUM)
    ensemble(tmp_path, "e", "s", config_extra=CACHED)

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            sums = [
                (await engine.infer(request("e", values=(1.0,), correlation_id=7, flags=flags))).outputs[0].array.item()
                for flags in (SEQUENCE_START, 0, 0, 0)
            ]
            assert sums == [1.0, 2.0, 3.0, 4.0]
            assert counted(engine, "e") == (0, 0, 4)

    run(scenario)


def test_a_response_of_strings_is_the_same_from_the_cache(tmp_path):
    config = """backend: "identity" max_batch_size: 8
        input { name: "INPUT0" data_type: TYPE_STRING dims: [ -1 ] }
        output { name: "OUTPUT0" data_type: TYPE_STRING dims: [ -1 ] }
        response_cache { enable: true }"""
    identity(tmp_path, "m", config=config)
    array = np.array([[b"a", b"", "é".encode()]], np.object_)

    async def scenario():
        async with serving(tmp_path, **LOCAL) as engine:
            asked = [
                InferRequest("m", inputs={"INPUT0": Tensor.from_array("INPUT0", array)}),
                InferRequest("m", inputs={"INPUT0": Tensor.from_array("INPUT0", array.copy())}),
            ]
            answers = [await engine.infer(each) for each in asked]
            assert [each.outputs[0].array.tolist() for each in answers] == [array.tolist()] * 2
            assert counted(engine, "m") == (1, 1, 1)

    run(scenario)


def source_of(repository, name):
    return read_source(ModelId("", name), LoadRequest(), ServerOptions(model_repository=(repository,)))


def test_servers_that_share_a_cache_share_responses_of_equal_models_only(tmp_path):
    """The identity of a shared cache's keys changes with the config and the files, and with nothing else."""
    caching = Caching(LocalCache(1), ServingTable(StateTable()), shared=True)
    for place in ("one", "two"):
        directory = identity(tmp_path / place, "m", extra=CACHED)
        (directory / "1" / "weights").write_bytes(b"abc")
        for path in (directory / "1" / "weights", directory / "config.pbtxt"):
            touch(path, 10**18)
    sources = [source_of(tmp_path / place, "m") for place in ("one", "two")]
    first, second = (caching.identity(source, 1, source.config) for source in sources)
    assert first == second
    assert caching.identity(sources[0], 2, sources[0].config) != first
    changed = type(sources[0].config)()
    changed.CopyFrom(sources[0].config)
    changed.max_batch_size = 3
    assert caching.identity(sources[0], 1, changed) != first
    touch(tmp_path / "two" / "m" / "1" / "weights", 2 * 10**18)
    assert caching.identity(source_of(tmp_path / "two", "m"), 1, sources[1].config) != first
    alone = Caching(LocalCache(1), ServingTable(StateTable()), shared=False)
    assert alone.identity(sources[0], 1, sources[0].config) != alone.identity(sources[0], 1, sources[0].config)


def test_an_ensemble_without_its_step_still_has_an_identity(tmp_path):
    ensemble(tmp_path, "e", "gone")
    config = source_of(tmp_path, "e").config
    found = EnsembleIdentity(ServingTable(StateTable()), config, bytes(32))
    assert found() == found()
    assert len(found()) == 32
