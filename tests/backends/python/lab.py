"""Models that execute the code a test sends them, and one engine that runs them for all tests of a mode."""

from __future__ import annotations

import asyncio
from textwrap import dedent, indent

import numpy as np
import pytest

from slipway.config.options import ServerOptions
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.engine.dataplane import Engine
from slipway.errors import SlipwayError

CONFIG = """
backend: "python"
input [ {{ name: "CODE" data_type: TYPE_STRING dims: [ 1 ] }}, {inputs} ]
output [ {{ name: "OUT" data_type: TYPE_STRING dims: [ -1 ] }}, {outputs} ]
parameters {{ key: "EXECUTION_MODE" value {{ string_value: "{mode}" }} }}
{extra}
"""
TYPES = ("BOOL", "INT64", "FP16", "FP32", "BF16", "STRING")  # one optional input and one output each
INPUTS = ", ".join(f'{{ name: "IN_{name}" data_type: TYPE_{name} dims: [ -1, -1 ] optional: true }}' for name in TYPES)
OUTPUTS = ", ".join(f'{{ name: "OUT_{name}" data_type: TYPE_{name} dims: [ -1, -1 ] }}' for name in TYPES)

LAB = '''
import asyncio, gc, json, threading, time

import numpy as np
import triton_python_backend_utils as pb_utils


def text(*values):
    array = np.array([str(value) for value in values], dtype=np.object_)
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])


def attempt(action):
    try:
        return repr(action())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def call(model, code, **fields):
    """Return a BLS request that has another lab run `code`."""
    tensor = pb_utils.Tensor("CODE", np.array(["    " + code], dtype=np.object_))
    fields.setdefault("requested_output_names", ["OUT"])
    return pb_utils.InferenceRequest(model_name=model, inputs=[tensor], **fields)


def texts(response):
    if response.has_error():
        return response.error().code().name, response.error().message()
    return [value.decode() for tensor in response.output_tensors() for value in tensor.as_numpy()]


def run_of(requests, prefix):
    body = requests[0].inputs()[0].as_numpy()[0].decode()
    names = dict(globals())
    exec(f"{prefix}def run(self, requests, request, sender):\\n{body}", names)
    return names["run"]


class TritonPythonModel:
    def initialize(self, args):
        self.args = args
        self.kept = []

    def execute(self, requests):
        run = run_of(requests, "")
        return run(self, requests, requests[0], requests[0].get_response_sender)
'''
ASYNC_LAB = LAB.replace("def execute", "async def execute").replace(
    'run_of(requests, "")', 'run_of(requests, "async ")'
)
ASYNC_LAB = ASYNC_LAB.replace("return run(", "return await run(")
DECOUPLED = "model_transaction_policy { decoupled: true }"
FOUR = "instance_group [ { kind: KIND_CPU count: 4 } ]"
IMPATIENT = """dynamic_batching {
  default_queue_policy { default_timeout_microseconds: 60000000 allow_timeout_override: true }
}"""
LABS = {
    "lab": (LAB, ""),
    "other": (LAB, ""),
    "four": (LAB, FOUR),
    "impatient": (LAB, IMPATIENT),
    "stream": (LAB, DECOUPLED),
    "async_lab": (ASYNC_LAB, ""),
    "async_stream": (ASYNC_LAB, DECOUPLED),
}


def write_lab(repository, name, mode):
    """Write one model of `LABS`."""
    source, extra = LABS[name]
    directory = repository / name / "1"
    directory.mkdir(parents=True)
    (directory / "model.py").write_text(source)
    config = CONFIG.format(mode=mode, extra=extra, inputs=INPUTS, outputs=OUTPUTS)
    (repository / name / "config.pbtxt").write_text(config)


class Lab:
    """A running engine; its methods block."""

    def __init__(self, runner, mode, repository):
        self.mode = mode
        self.repository = repository
        self._runner = runner
        options = ServerOptions(model_repository=(repository,), model_control_mode="explicit", load_model=("*",))
        self.engine = Engine(options, version="0")
        self.failed = runner.run(self.engine.start())

    def stop(self):
        """Shut the engine down."""
        assert self._runner.run(self.engine.shutdown(20))

    def wait(self, awaitable):
        """Return the result of `awaitable`."""

        async def waited():
            return await awaitable

        return self._runner.run(waited())

    def responses(self, body, *, model="lab", tensors=(), **fields):
        """Return every response to a request that has `model` run `body`, the body of a function."""
        request = InferRequest(model, inputs={each.name: each for each in (code(body), *tensors)}, **fields)
        return self._runner.run(self._responses(request))

    async def _responses(self, request):
        answers, done = [], asyncio.Event()

        def deliver(response):
            answers.append(response)
            if response.final:
                done.set()

        self.engine.submit(request, deliver)
        async with asyncio.timeout(20):
            await done.wait()
        return answers

    def response(self, body, **request):
        """Return the one response; raise its error."""
        [answer] = [each for each in self.responses(body, **request) if not each.empty]
        if answer.error is not None:
            raise answer.error
        return answer

    def ask(self, body, **request):
        """Return the text of the one response, or its texts; a body without `return` is an expression."""
        if "return" not in body and "send(" not in body:
            body = f"return [text({body})]"
        texts = [value.decode() for value in self.response(body, **request).outputs[0].array]
        return texts[0] if len(texts) == 1 else texts

    def error(self, body, **request):
        """Return the error that answers."""
        with pytest.raises(SlipwayError) as caught:
            self.response(body, **request)
        return caught.value


def code(body):
    """Return the input with the code for a lab to run."""
    body = indent(dedent(body).strip("\n"), " " * 4) or "    pass"
    return Tensor.from_array("CODE", np.array([body.encode()], dtype=np.object_))
