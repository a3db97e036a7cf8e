"""One onnxruntime session: opened once per model version, run by all its instances at the same time.

The edge to the library: arrays that it does not accept are converted here, and its errors become SlipwayErrors in
Triton's words, without paths.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.files import unreadable_graph
from slipway.backends.shared.graph import Graph, GraphTensor, as_declared, as_scalar, scalar_outputs
from slipway.errors import FailureReason, SlipwayError, internal, invalid, unsupported

_ERROR = re.compile(r"^\[ONNXRuntimeError\] : (\d+) : \w+ : ", re.ASCII)
_SOURCE_FILE = re.compile(r"/onnxruntime_src/\S+ ")
_EXTERNAL_DATA = re.compile(r"(External data path validation failed for initializer: .*?\.) .*", re.DOTALL)
_BFLOAT16 = 16  # TensorProto.DataType.BFLOAT16

Arrays = dict[str, np.ndarray]


def open_session(path: Path, options: Any, model_name: str) -> Any:
    """Return the InferenceSession of the model file; raise INTERNAL with onnxruntime's reason, without the path.

    onnxruntime itself refuses external data outside the model's directory (absolute, `..`, symbolic links).
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # the library raises its own subclasses of Exception, and RuntimeError
        text = _message(error)
        for directory in {str(path.parent), str(path.resolve().parent)}:
            text = text.replace(directory + "/", "")
        text = _EXTERNAL_DATA.sub(r"\1 External data must be a file inside the model's directory.", text)
        raise unreadable_graph(f"unable to load model '{model_name}': {text}") from error


class GraphRunner:
    """Runs a session on numpy arrays. Strings are `bytes` in object arrays, bfloat16 is ml_dtypes'."""

    def __init__(
        self, session: Any, graph: Graph, config: model_config_pb2.ModelConfig, run_options: Any = None
    ) -> None:
        self.graph = graph
        self._session = session
        self._model_name = config.name
        self._run_options = run_options
        inputs = {**self.graph.inputs, **self.graph.initializers}
        self._adapt_inputs = {
            name: adapt for name, tensor in inputs.items() if (adapt := self._input_adapter(tensor)) is not None
        }
        self._adapt_outputs = _output_adapters(self.graph, config)
        self._bfloat16 = self._needs_ort_values()

    def run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """Return the outputs `names`; raise INTERNAL (reason BACKEND) when the graph fails. Thread-safe."""
        adapt = self._adapt_inputs
        if adapt:
            inputs = {name: adapt[name](array) if name in adapt else array for name, array in inputs.items()}
        try:
            if self._bfloat16:
                outputs = self._run_ort_values(inputs, names)
            else:
                outputs = dict(zip(names, self._session.run(names, inputs, self._run_options), strict=True))
        except Exception as error:  # the library raises its own subclasses of Exception, RuntimeError, ValueError
            raise internal(_message(error), reason=FailureReason.BACKEND) from error
        for name, adapt_output in self._adapt_outputs.items():
            if name in outputs:
                outputs[name] = adapt_output(outputs[name])
        return outputs

    def _input_adapter(self, tensor: GraphTensor) -> Callable[[np.ndarray], np.ndarray] | None:
        if tensor.config_type == "TYPE_STRING":
            return lambda array: self._to_text(tensor.name, array)
        return as_scalar if tensor.ranked and not tensor.dims else None

    def _to_text(self, name: str, array: np.ndarray) -> np.ndarray:
        """Return the strings as `str`, the only form that onnxruntime accepts."""
        try:
            elements = [element if isinstance(element, str) else element.decode() for element in array.ravel()]
        except UnicodeDecodeError:
            raise invalid(
                f"input '{name}' of model '{self._model_name}' has a string that is not valid UTF-8"
            ) from None
        text = np.empty(len(elements), dtype=np.object_)
        text[:] = elements
        return text.reshape(array.shape)

    def _needs_ort_values(self) -> bool:
        graph = self.graph
        types = {tensor.config_type for part in (graph.inputs, graph.outputs) for tensor in part.values()}
        if {"TYPE_BF16", "TYPE_STRING"} <= types:
            raise unsupported(
                f"unable to load model '{self._model_name}': onnxruntime cannot pass BF16 and string tensors together"
            )
        return "TYPE_BF16" in types

    def _run_ort_values(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """Run a graph with bfloat16 tensors, a type that numpy lacks and `session.run` refuses."""
        values = {name: _to_ort_value(array) for name, array in inputs.items()}
        outputs = self._session.run_with_ort_values(names, values, self._run_options)
        return {name: _from_ort_value(value) for name, value in zip(names, outputs, strict=True)}


def _output_adapters(
    graph: Graph, config: model_config_pb2.ModelConfig
) -> Mapping[str, Callable[[np.ndarray], np.ndarray]]:
    scalars = {name: partial(as_declared, dims) for name, dims in scalar_outputs(config, graph).items()}
    strings = {name: _to_bytes for name, tensor in graph.outputs.items() if tensor.config_type == "TYPE_STRING"}
    return {**scalars, **strings}


def _to_bytes(array: np.ndarray) -> np.ndarray:
    elements = np.empty(array.size, dtype=np.object_)
    elements[:] = [element.encode() for element in array.ravel()]
    return elements.reshape(array.shape)


def _to_ort_value(array: np.ndarray) -> Any:
    from onnxruntime import OrtValue

    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype == ml_dtypes.bfloat16:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return OrtValue.ortvalue_from_numpy(array)


def _from_ort_value(value: Any) -> np.ndarray:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    return np.frombuffer(raw, dtype=ml_dtypes.bfloat16).reshape(shape)


def _message(error: Exception) -> str:
    """Return an onnxruntime error in Triton's form, without the names of onnxruntime's source files."""
    if isinstance(error, SlipwayError):
        return error.message
    text = _ERROR.sub(r"onnx runtime error \1: ", str(error).strip())
    return _SOURCE_FILE.sub("", text)
