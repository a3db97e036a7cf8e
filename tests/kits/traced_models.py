"""A repository for traces: a plain model, an ensemble, models that call another one from a thread and from a process,
and one that answers several times.
"""

from __future__ import annotations

from pathlib import Path

from tests.kits.repositories import add_identity, write_config

_CALLER = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            trace = request.trace()
            call = pb_utils.InferenceRequest(
                model_name="identity", requested_output_names=["OUTPUT0"],
                inputs=[pb_utils.Tensor("INPUT0", given)], trace=trace,
            )
            untraced = pb_utils.InferenceRequest(
                model_name="identity", requested_output_names=["OUTPUT0"], inputs=[pb_utils.Tensor("INPUT0", given)]
            )
            untraced.exec()
            out = pb_utils.get_output_tensor_by_name(call.exec(), "OUTPUT0").as_numpy()
            context = (trace.get_context() or "").encode()
            import numpy as np

            responses.append(pb_utils.InferenceResponse([
                pb_utils.Tensor("OUT", out), pb_utils.Tensor("CONTEXT", np.array([[context]], np.object_)),
            ]))
        return responses
"""
_REPEAT = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for value in range(3):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([value], np.float32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""
_CALLER_CONFIG = """backend: "python"
max_batch_size: 4
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }
output [
  { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "CONTEXT" data_type: TYPE_STRING dims: [ 1 ] }
]
"""
_REPEAT_CONFIG = """backend: "python"
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] }
model_transaction_policy { decoupled: true }
"""
_CHAIN = """platform: "ensemble"
max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }
ensemble_scheduling { step [
  { model_name: "identity" model_version: -1
    input_map { key: "INPUT0" value: "IN" } output_map { key: "OUTPUT0" value: "middle" } },
  { model_name: "identity" model_version: -1
    input_map { key: "INPUT0" value: "middle" } output_map { key: "OUTPUT0" value: "OUT" } }
] }
"""


def write_traced_models(repository: Path) -> None:
    """Write the models `identity`, `chain`, `caller`, `process_caller` and `repeat`."""
    add_identity(repository)
    write_config(repository, "chain", _CHAIN)
    in_process = 'parameters { key: "EXECUTION_MODE" value { string_value: "process" } }\n'
    in_thread = in_process.replace('"process"', '"thread"')
    for name, mode in (("caller", in_thread), ("process_caller", in_process)):
        (write_config(repository, name, _CALLER_CONFIG + mode) / "model.py").write_text(_CALLER)
    (write_config(repository, "repeat", _REPEAT_CONFIG) / "model.py").write_text(_REPEAT)
