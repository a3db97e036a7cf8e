"""Tiny real models, and an engine that runs them."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager

import numpy as np

from slipway.config.options import ServerOptions
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.engine.dataplane import Engine

IDENTITY = """
backend: "identity"
max_batch_size: 8
input {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }}
output {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }}
{extra}
"""


def delay(milliseconds):
    """Return the config line that delays an identity model's executions."""
    return f'parameters {{ key: "execute_delay_ms" value {{ string_value: "{milliseconds}" }} }}'


def identity(repository, name, *, versions=(1,), extra="", config=None):
    """Write an identity model."""
    for version in versions:
        (repository / name / str(version)).mkdir(parents=True, exist_ok=True)
    (repository / name / "config.pbtxt").write_text(IDENTITY.format(extra=extra) if config is None else config)
    return repository / name


def ensemble(repository, name, *parts, config_extra=""):
    """Write an ensemble that sends INPUT0 through `parts`, one after the other."""
    tensors = ["INPUT0", *(f"t{index}" for index in range(len(parts) - 1)), "OUTPUT0"]
    steps = "\n".join(
        f"""step {{ model_name: "{part}" model_version: -1
        input_map {{ key: "INPUT0" value: "{tensors[index]}" }}
        output_map {{ key: "OUTPUT0" value: "{tensors[index + 1]}" }} }}"""
        for index, part in enumerate(parts)
    )
    config = f"""
    platform: "ensemble"
    max_batch_size: 4
    input {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }}
    output {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }}
    ensemble_scheduling {{ {steps} }}
    {config_extra}"""
    return identity(repository, name, config=config)


def onnx_file(path, *, add):
    """Write an ONNX model that adds a constant to INPUT0."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Add", ["INPUT0", "c"], ["OUTPUT0"])],
        "add",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("c", TensorProto.FLOAT, [1], [float(add)])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def adder(repository, name, versions, config=""):
    """Write an ONNX model whose version N adds N."""
    for version in versions:
        onnx_file(repository / name / str(version) / "model.onnx", add=version)
    if config:
        (repository / name / "config.pbtxt").write_text(config)
    return repository / name


def request(name, version="", *, values=(1.0, 2.0), shape=None, **fields):
    """Return a request with one FP32 tensor."""
    array = np.array([values], np.float32) if shape is None else np.zeros(shape, np.float32)
    return InferRequest(name, version, inputs={"INPUT0": Tensor.from_array("INPUT0", array)}, **fields)


async def answer(engine, name, version="", **fields):
    """Return the values of OUTPUT0."""
    response = await engine.infer(request(name, version, **fields))
    return response.outputs[0].array.ravel().tolist()


@asynccontextmanager
async def serving(*repositories, **options):
    """Run an engine on `repositories`; `engine.failed` is what its start returned, by name."""
    engine = Engine(ServerOptions(model_repository=repositories, **options), version="0")
    engine.failed = {str(model): failure for model, failure in (await engine.start()).items()}
    try:
        yield engine
    finally:
        assert await engine.shutdown(20)


def explicit(*repositories, **options):
    """Run an engine in mode `explicit`."""
    return serving(*repositories, model_control_mode="explicit", **options)


def rows(engine, name):
    """Return a model's rows in the repository index as text."""
    return [
        " ".join(filter(None, (entry.version, entry.state, entry.reason)))
        for entry in engine.repository_index(ready_only=False)
        if entry.name == name
    ]


async def until(condition):
    """Let the loop run until `condition` holds; the test's timeout limits the wait."""
    while not condition():  # noqa: ASYNC110  the engine has no event for these conditions
        await asyncio.sleep(0.005)


def touch(path, nanoseconds):
    """Change a file's modification time, independently of the clock's resolution."""
    os.utime(path, ns=(nanoseconds, nanoseconds))


@contextmanager
def refused(code, text):
    """Expect a `SlipwayError` with exactly this code and text."""
    import pytest

    from slipway.errors import SlipwayError

    with pytest.raises(SlipwayError) as caught:
        yield
    assert (caught.value.code, caught.value.message) == (code, text)
