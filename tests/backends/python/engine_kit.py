"""Python models written to a directory, and a real engine that runs them in either mode."""

from __future__ import annotations

import asyncio
import textwrap
from contextlib import asynccontextmanager

import numpy as np
import pytest

from slipway.config.options import ServerOptions
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.engine.dataplane import Engine
from slipway.errors import SlipwayError

MODES = ("process", "thread")
both_modes = pytest.mark.parametrize("mode", MODES)

TEXT_IO = """
input { name: "IN" data_type: TYPE_STRING dims: [ -1 ] }
output { name: "OUT" data_type: TYPE_STRING dims: [ -1 ] }
"""
FLOAT_IO = """
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }
"""
DECOUPLED = "model_transaction_policy { decoupled: true }"

PRELUDE = """
import asyncio, os, sys, threading, time
import numpy as np
import triton_python_backend_utils as pb_utils


def text(request):
    return request.inputs()[0].as_numpy()[0].decode()


def reply(*values):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(values, dtype=np.object_))])


def ask(model, value="x", outputs=("OUT",), **options):
    tensor = pb_utils.Tensor("IN", np.array([value], dtype=np.object_))
    return pb_utils.InferenceRequest(
        model_name=model, requested_output_names=list(outputs), inputs=[tensor], **options)
"""
ECHO = """
class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", r.inputs()[0].as_numpy())]) for r in requests]
"""


def write_model(repository, name, source, *, mode="process", io=TEXT_IO, config="", batch=0, prelude=PRELUDE):  # noqa: PLR0913  all that models differ in
    """Write a Python model; `source` is the body of model.py after the prelude."""
    directory = repository / name / "1"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.py").write_text(prelude + textwrap.dedent(source))
    thread = 'parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }' if mode == "thread" else ""
    (repository / name / "config.pbtxt").write_text(
        f'backend: "python"\nmax_batch_size: {batch}\n{io}\n{thread}\n{config}\n'
    )
    return directory


def methods(body):
    """Return the source of a model whose methods are `body`."""
    return "class TritonPythonModel:\n" + textwrap.indent(textwrap.dedent(body), "    ")


def text_request(model, *values, **fields):
    """Return a request with one BYTES tensor."""
    array = np.empty(len(values), dtype=np.object_)
    array[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return InferRequest(model, inputs={"IN": Tensor.from_array("IN", array)}, **fields)


def float_request(model, array, **fields):
    """Return a request with one FP32 tensor, from bytes as a front makes it."""
    raw = np.ascontiguousarray(array, np.float32).tobytes()
    return InferRequest(model, inputs={"IN": Tensor("IN", "FP32", array.shape, raw=raw)}, **fields)


@asynccontextmanager
async def serving(repository, **options):
    """Run an engine on a repository; every model must load."""
    engine = Engine(ServerOptions(model_repository=(repository,), **options), version="0")
    engine.failed = {str(model): failure for model, failure in (await engine.start()).items()}
    try:
        yield engine
    finally:
        assert await engine.shutdown(30)


def run(scenario):
    """Run a coroutine function."""
    return asyncio.run(scenario())


async def infer_text(engine, model, *values, **fields):
    """Return the strings of OUT."""
    response = await engine.infer(text_request(model, *values, **fields))
    return [value.decode() for value in response.outputs[0].array.ravel().tolist()]


async def error_of(engine, model, *values, **fields):
    """Return the error a request gets."""
    with pytest.raises(SlipwayError) as caught:
        await engine.infer(text_request(model, *values, **fields))
    return caught.value


async def stream(engine, request):
    """Return every answer of a request."""
    answers, ended = [], asyncio.Event()

    def deliver(response):
        answers.append(response)
        if response.final:
            ended.set()

    engine.submit(request, deliver)
    await ended.wait()
    return answers


def served(repository, scenario, **options):
    """Run `scenario(engine)` on an engine of its own."""

    async def whole():
        async with serving(repository, **options) as engine:
            assert not engine.failed, engine.failed
            return await scenario(engine)

    return asyncio.run(whole())
