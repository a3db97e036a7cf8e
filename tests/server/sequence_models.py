"""Models that serve sequences, for a real server: most answer with the sum of their sequence so far."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.kits import onnx_graphs as graphs
from tests.kits.repositories import write_config

CONTROLS = """control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
  { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
  { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] },
  { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: %s } ] }
]
"""
NUMBERS, STRINGS = CONTROLS % "TYPE_UINT64", CONTROLS % "TYPE_STRING"
IO = """input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }, { name: "ROWS" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""
# Sums up by correlation id; ROWS is the number of rows of the batch. A request without READY must have no effect.
SUM = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(request, len(requests)) for request in requests]

    def answer(self, request, rows):
        def value(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel()[0]

        total = np.int32(0)
        if value("READY"):
            key = value("CORRID")
            if value("START"):
                self.sums[key] = 0
            self.sums[key] += value("IN")
            total = self.sums[key]
            if value("END"):
                del self.sums[key]
        shape = pb_utils.get_input_tensor_by_name(request, "IN").shape()
        found = {"OUT": total, "ROWS": rows}
        tensors = [pb_utils.Tensor(name, np.full(shape, number, np.int32)) for name, number in found.items()]
        return pb_utils.InferenceResponse(tensors)
"""
# Returns the request IN times, then answers with the number of executions.
REPEATED = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.turns = {}

    def execute(self, requests):
        answers = []
        for request in requests:
            key = request.correlation_id()
            if request.flags() == pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.turns[key] = 0
            self.turns[key] += 1
            wanted = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().ravel()[0])
            answers.append(self.turn(request, self.turns[key], wanted))
        return answers

    def turn(self, request, turn, wanted):
        if turn <= wanted:
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        return pb_utils.InferenceResponse(self.tensors(turn))

    def tensors(self, turn):
        return [pb_utils.Tensor(name, np.full((1, 1), turn, np.int32)) for name in ("OUT", "ROWS")]
"""
STREAMED = (
    REPEATED
    + """

class TritonPythonModel(TritonPythonModel):
    def execute(self, requests):
        super().execute(requests)

    def turn(self, request, turn, wanted):
        last = turn >= wanted
        flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0
        request.get_response_sender().send(pb_utils.InferenceResponse(self.tensors(turn)), flags)
        if not last:
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
"""
)
# Sends IN and then twice IN as a sequence to the model `direct`, and answers with the last sum.
CALLING = """import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        return await asyncio.gather(*map(self.answer, requests))

    async def answer(self, request):
        given = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        for factor, flags in ((1, 1), (2, 2)):
            tensor = pb_utils.Tensor("IN", np.int32(factor) * given)
            call = pb_utils.InferenceRequest(
                model_name="direct",
                requested_output_names=["OUT", "ROWS"],
                inputs=[tensor],
                correlation_id=2**40 + request.correlation_id(),
                flags=flags,
            )
            response = await call.async_exec()
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
        return response
"""
MORTAL = SUM.replace(
    "        total = np.int32(0)", "        if value('IN') == 99:\n            os._exit(1)\n        total = np.int32(0)"
)
MORTAL = f"import os\n\n{MORTAL}"
THREAD = 'parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }\n'


def batching(text: str, controls: str = NUMBERS) -> str:
    return f"sequence_batching {{ {text} {controls} }}\n"


def add_python(repository: Path, name: str, source: str, config: str, rows: int = 4) -> None:
    version = write_config(repository, name, f'backend: "python"\nmax_batch_size: {rows}\n{IO}{config}')
    (version / "model.py").write_text(source)


def add_sum_graph(repository: Path) -> None:
    """Add an ONNX model with two states: the sum, which begins with a number from a file, and all values so far."""
    config = """max_batch_size: 4
input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }, { name: "ALL_OUT" data_type: TYPE_INT32 dims: [ -1 ] } ]
sequence_batching {
  oldest { }
  state [
    { input_name: "SUM_IN" output_name: "SUM_OUT" data_type: TYPE_INT32 dims: [ 1 ]
      initial_state { name: "start" data_type: TYPE_INT32 dims: [ 1 ] data_file: "start" } },
    { input_name: "ALL_IN" output_name: "ALL_OUT" data_type: TYPE_INT32 dims: [ -1 ]
      initial_state { name: "empty" data_type: TYPE_INT32 dims: [ 0 ] zero_data: true } }
  ]
}
"""
    version = write_config(repository, "graph", f'backend: "onnxruntime"\n{config}')
    (version.parent / "initial_state").mkdir()
    (version.parent / "initial_state" / "start").write_bytes(np.int32(1000).tobytes())
    number = graphs.ELEMENTS["INT32"]
    graphs.write(
        version.parent,
        [
            ("Add", ["IN", "SUM_IN"], ["OUT"]),
            ("Identity", ["OUT"], ["SUM_OUT"]),
            ("Concat1", ["ALL_IN", "IN"], ["ALL_OUT"]),
        ],
        [("IN", number, ["n", 1]), ("SUM_IN", number, ["n", 1]), ("ALL_IN", number, ["n", "m"])],
        [("OUT", number, ["n", 1]), ("SUM_OUT", number, ["n", 1]), ("ALL_OUT", number, ["n", "k"])],
    )


def add_models(repository: Path) -> None:
    """Add all models."""
    add_python(repository, "direct", SUM, batching(""))
    add_python(repository, "oldest", SUM, batching("oldest { max_candidate_sequences: 64 }", STRINGS))
    add_python(repository, "single", SUM, batching("") + THREAD, rows=0)
    add_python(repository, "short", SUM, batching("max_sequence_idle_microseconds: 30000"), rows=0)
    add_python(repository, "mortal", MORTAL, batching(""))
    iterative = "sequence_batching { iterative_sequence: true oldest { } }\n"
    decoupled = "model_transaction_policy { decoupled: true }\n"
    add_python(repository, "repeated", REPEATED, iterative)
    add_python(repository, "streamed", STREAMED, f"{iterative}{decoupled}")
    add_python(repository, "calling", CALLING, "")
    add_sum_graph(repository)
    step = (
        'step { model_name: "direct" model_version: -1 input_map { key: "IN" value: "IN" } '
        'output_map [ { key: "OUT" value: "OUT" }, { key: "ROWS" value: "ROWS" } ] }'
    )
    write_config(
        repository, "chain", f'platform: "ensemble"\nmax_batch_size: 4\n{IO}ensemble_scheduling {{ {step} }}\n'
    )
