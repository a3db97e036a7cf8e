"""Model repositories for the benchmarks."""

from __future__ import annotations

from pathlib import Path

IDENTITY_SOURCE = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensor = pb_utils.get_input_tensor_by_name(request, "INPUT0")
            output = pb_utils.Tensor("OUTPUT0", tensor.as_numpy())
            responses.append(pb_utils.InferenceResponse(output_tensors=[output]))
        return responses
"""

IDENTITY_CONFIG = """\
backend: "{backend}"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ {size} ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ {size} ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""

THREAD_MODE = 'parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }\n'


def write_identity(repository: Path, name: str, backend: str, *, thread_mode: bool = False, size: int = 16) -> None:
    """Write a model that returns its FP32 [1, size] input; `backend` is "identity" or "python"."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    config = IDENTITY_CONFIG.format(backend=backend, size=size) + (THREAD_MODE if thread_mode else "")
    (repository / name / "config.pbtxt").write_text(config)
    if backend == "python":
        (version / "model.py").write_text(IDENTITY_SOURCE)


def write_large_onnx(repository: Path, name: str, *, megabytes: int, count: int) -> None:
    """Write an ONNX model with one matrix product, `megabytes` of weights and `count` instances."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    width = 512
    depth = megabytes * 2**20 // 4 // width
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((width, depth), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", depth])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    version = repository / name / "1"
    version.mkdir(parents=True)
    onnx.save(model, version / "model.onnx")
    (repository / name / "config.pbtxt").write_text(
        f'backend: "onnxruntime"\ninstance_group [ {{ kind: KIND_CPU count: {count} }} ]\n'
    )
