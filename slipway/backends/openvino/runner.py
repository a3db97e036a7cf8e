"""One infer request of a compiled model, as a function of named arrays.

Inputs are lent to the library where their memory allows it; outputs are copied out of its buffers, which the next
execution overwrites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

from slipway.backends.openvino.library import Compilation, reason_of
from slipway.backends.shared.graph import Graph, as_declared, as_scalar
from slipway.errors import FailureReason, SlipwayError, internal, invalid
from slipway.openvino_library import import_openvino

Arrays = dict[str, np.ndarray]

_INT32: Final = np.iinfo(np.int32)
_CUT: Final = frozenset({"TYPE_INT64", "TYPE_UINT64", "TYPE_UINT32"})


@dataclass(frozen=True, slots=True)
class FixedBatch:
    """`rows`, if not 0, is the only batch size that a graph accepts; `pads`: smaller batches are filled up to it."""

    rows: int = 0
    pads: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """Where to find the tensors of a configuration in a compiled model; the same for all its requests.

    `scalars` are the declared dims of outputs that the graph returns as scalars.
    """

    model_name: str
    graph: Graph
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    scalars: Mapping[str, tuple[int, ...]]
    fixed: FixedBatch = FixedBatch()


class RequestRunner:
    """Runs one openvino.InferRequest, for one thread at a time. `alone`: no other runner uses the compilation."""

    def __init__(self, compilation: Compilation, binding: Binding, *, alone: bool) -> None:
        self._compilation = compilation
        self._compiled = compilation.current()
        self._request = self._compiled.create_infer_request()
        self._binding = binding
        self._alone = alone
        self._openvino = import_openvino()

    def run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """Return the outputs `names`; raise INTERNAL (reason BACKEND) when the graph fails."""
        binding = self._binding
        given = _row_count(inputs) if binding.fixed.rows else 0
        lent = [(binding.inputs[name], self._lend(name, array)) for name, array in inputs.items()]
        try:
            outputs = self._infer(lent, names)
        except SlipwayError:
            if self._alone:
                raise
            outputs = self._infer(lent, names)  # another runner's failure may have been the cause
        for name in names:
            outputs[name] = self._as_declared(name, outputs[name], given)
        return outputs

    def _infer(self, lent: Sequence[tuple[int, Any]], names: Sequence[str]) -> Arrays:
        self._renew()
        try:
            for index, tensor in lent:
                self._request.set_input_tensor(index, tensor)
            # Not infer(): with one thread it swallows errors and leaves the outputs of an earlier call (2026.4). This
            # way costs 20 to 50 microseconds more.
            self._request.start_async()
            self._request.wait()
            return {name: _copy(self._request.get_output_tensor(self._binding.outputs[name]).data) for name in names}
        except Exception as error:  # the library raises RuntimeError, and its own subclasses of Exception
            self._compilation.spoil(self._compiled)
            raise internal(f"OpenVINO: {reason_of(error)}", reason=FailureReason.BACKEND) from error

    def _renew(self) -> None:
        """Replace a compiled model in which an execution failed."""
        compiled = self._compilation.current()
        if compiled is not self._compiled:
            self._compiled, self._request = compiled, compiled.create_infer_request()

    def _lend(self, name: str, array: np.ndarray) -> Any:
        """Return a tensor on the array's memory, or on a copy if the library could not or must not use that memory.

        Read-only arrays are views of a request's own bytes, which may be at any address.
        """
        binding = self._binding
        tensor = binding.graph.inputs[name]
        if tensor.config_type in _CUT:
            self._refuse_large(name, array)
        if tensor.ranked and not tensor.dims:
            array = as_scalar(array)
        if binding.fixed.rows and array.shape[0] != binding.fixed.rows:
            array = self._fill(array)
        if not array.flags.carray:
            array = array.copy()
        if array.dtype == ml_dtypes.bfloat16:
            return self._openvino.Tensor(array.view(np.uint16), list(array.shape), self._openvino.Type.bf16)
        return self._openvino.Tensor(array, shared_memory=True)

    def _refuse_large(self, name: str, array: np.ndarray) -> None:
        """Raise INVALID_ARG for integers that OpenVINO's CPU device would silently change: it computes in 32 bits."""
        if array.size and not (_INT32.min <= array.min() and array.max() <= _INT32.max):
            raise invalid(
                f"input '{name}' of model '{self._binding.model_name}' contains a number outside {_INT32.min} to "
                f"{_INT32.max}, which OpenVINO would cut to 32 bits; serve the model with the backend onnxruntime"
            )

    def _fill(self, array: np.ndarray) -> np.ndarray:
        """Return the array filled up to the graph's batch size with rows of zeros, as Triton does."""
        rows = self._binding.fixed.rows
        if not self._binding.fixed.pads:
            raise internal(
                f"expected requests with batch size '{rows}', got '{array.shape[0]}'... this error can be avoided by "
                f"setting 'ENABLE_BATCH_PADDING' parameter in model configuration to 'YES' at a performance cost.",
                reason=FailureReason.BACKEND,
            )
        return np.concatenate([array, np.zeros((rows - array.shape[0], *array.shape[1:]), array.dtype)])

    def _as_declared(self, name: str, array: np.ndarray, given: int) -> np.ndarray:
        binding = self._binding
        if binding.graph.outputs[name].config_type == "TYPE_BF16":  # the library's view says float16
            array = array.view(ml_dtypes.bfloat16)
        if name in binding.scalars:
            array = as_declared(binding.scalars[name], array)
        return array[:given] if binding.fixed.rows else array


def _row_count(inputs: Arrays) -> int:
    return next((array.shape[0] for array in inputs.values()), 0)


def _copy(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C")
