"""Real graphs whose shapes are prepared in the background after the load."""

import asyncio
from threading import Event

import numpy as np
import pytest
from onnx import TensorProto

from slipway.backends.openvino.runner import RequestRunner
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from tests.backends.openvino.models import parameter
from tests.kits import onnx_graphs as graphs
from tests.kits.engine import explicit, rows, until
from tests.kits.repositories import ID_NAMES, TinyClassifier

PADS = " ".join(f"{name}=0" for name in ID_NAMES)
LENGTHS = [8, 16, 24, 32, 40]
SHAPES = [(1, 8), (1, 16), (1, 24), (1, 32), (2, 8), (3, 8), (2, 16), (4, 8)]


def config_of(*parameters):
    keys = "".join(parameter(key, value) for key, value in parameters)
    return f'backend: "openvino" default_model_filename: "model.onnx" max_batch_size: 4 dynamic_batching {{ }} {keys}'


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A repository with a tiny BERT that rounds lengths up, as `prepared` and as `plain`."""
    repository = tmp_path_factory.mktemp("encoder")
    for name, tokens in (("prepared", 32), ("plain", 0)):
        (repository / name / "1").mkdir(parents=True)
        TinyClassifier().export(repository / name / "1/model.onnx")
        keys = (("LENGTH_BATCHING_PAD_VALUES", PADS), ("LENGTH_BATCHING_LENGTH_STEP", 8), ("PREPARED_TOKENS", tokens))
        (repository / name / "config.pbtxt").write_text(config_of(*keys))
    return repository


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of all executions, in order."""
    seen = []
    run = RequestRunner.run

    def recorded(self, inputs, names):
        seen.append(next(iter(inputs.values())).shape)
        return run(self, inputs, names)

    monkeypatch.setattr(RequestRunner, "run", recorded)
    return seen


def text(name, length):
    arrays = (np.arange(length) % 100, np.ones(length), np.zeros(length))
    tensors = [
        Tensor.from_array(each, array[None].astype(np.int32)) for each, array in zip(ID_NAMES, arrays, strict=True)
    ]
    return InferRequest(name, inputs={tensor.name: tensor for tensor in tensors})


async def answer(engine, request):
    (output,) = (await engine.infer(request)).outputs
    return output.array


def test_shapes_are_prepared_after_the_model_is_ready(encoder, shapes):
    async def scenario():
        async with explicit(encoder, load_model=("prepared",)) as engine:
            assert engine.ready()
            assert shapes == []
            await until(lambda: len(shapes) == len(SHAPES))
            assert shapes == SHAPES
            assert engine.model_statistics("prepared", "")[0].statistics.execution_count == 0

    asyncio.run(scenario())


def test_answers_are_those_of_a_model_without_preparation(encoder, shapes):
    async def scenario():
        async with explicit(encoder, load_model=("plain", "prepared")) as engine:
            await until(lambda: len(shapes) == len(SHAPES))
            for length in (5, *LENGTHS):
                plain, prepared = [await answer(engine, text(name, length)) for name in ("plain", "prepared")]
                assert np.array_equal(plain, prepared)
            assert shapes[len(SHAPES) :] == [(1, length) for length in (8, *LENGTHS) for _ in range(2)]

    asyncio.run(scenario())


def test_unloading_a_model_ends_its_preparation(encoder, shapes, monkeypatch):
    unloading = Event()
    run = RequestRunner.run

    def held(self, inputs, names):
        outputs = run(self, inputs, names)
        assert unloading.wait(20)
        return outputs

    monkeypatch.setattr(RequestRunner, "run", held)

    async def scenario():
        async with explicit(encoder, load_model=("prepared",)) as engine:
            await until(lambda: shapes)
            await engine.unload_model("prepared", False)
            unloading.set()
            await until(lambda: rows(engine, "prepared") == ["1 UNAVAILABLE unloaded"])
            assert shapes == SHAPES[:1]

    asyncio.run(scenario())


def test_a_graph_that_refuses_a_length_serves_the_others(tmp_path, shapes, caplog):
    """Its table has 16 positions, so it fails on 8, the first length to be prepared."""
    positions = graphs.weights("table", np.ones(16, np.float32))
    graphs.write(
        tmp_path / "m",
        [("Add", ("x", "table"), ("y",))],
        [("x", TensorProto.FLOAT, ("n", "m"))],
        [("y", TensorProto.FLOAT, ("n", "k"))],
        [positions],
    )
    keys = (("LENGTH_BATCHING_PAD_VALUES", "x=0"), ("LENGTH_BATCHING_LENGTH_STEP", 8))
    (tmp_path / "m/config.pbtxt").write_text(config_of(*keys))

    async def scenario():
        async with explicit(tmp_path, load_model=("m",)) as engine:
            await until(lambda: "preparing 1 x 8 tokens failed" in caplog.text)
            request = InferRequest("m", inputs={"x": Tensor.from_array("x", np.ones((1, 16), np.float32))})
            assert (await answer(engine, request)).tolist() == [[2.0] * 16]
        assert shapes == [(1, 8), (1, 16)]

    asyncio.run(scenario())
