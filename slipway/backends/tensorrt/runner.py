"""One TensorRT execution context, as a function of named arrays. Its buffers are torch tensors on the GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slipway.backends.pytorch.tensors import to_numpy, to_torch
from slipway.backends.shared.graph import as_declared, as_scalar
from slipway.backends.tensorrt.graph import EngineDescription
from slipway.backends.tensorrt.library import PlanEngine
from slipway.backends.tensorrt.profiles import Profile, choose_profile
from slipway.datatypes import BY_CONFIG_NAME
from slipway.errors import FailureReason, SlipwayError, internal, unsupported

Arrays = dict[str, np.ndarray]

_TORCH = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_INT8": "int8",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_BF16": "bfloat16",
}


class ContextRunner:
    """Runs one tensorrt.IExecutionContext, for one thread at a time.

    `profiles` are the profiles that the configuration allows, by number; `scalars` are the declared dims of outputs
    that the engine returns as scalars.
    """

    def __init__(
        self,
        engine: PlanEngine,
        device: int,
        *,
        plan: EngineDescription,
        profiles: Mapping[int, Profile],
        scalars: Mapping[str, tuple[int, ...]],
        model_name: str,
    ) -> None:
        import torch

        self._engine = engine  # the context does not keep it alive
        self._device = torch.device("cuda", device)
        self._plan = plan
        self._profiles = profiles
        self._scalars = scalars
        self._model_name = model_name
        with torch.cuda.device(self._device):
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._context = engine.engine.create_execution_context()
            self._no_elements = torch.empty(1, dtype=torch.int64, device=self._device)
        if self._context is None:
            raise internal(f"unable to load model '{model_name}': out of memory for a TensorRT execution context")
        self._profile = 0

    def run(self, inputs: Arrays, names: Sequence[str]) -> Arrays:
        """Return the outputs `names`; raise INTERNAL (reason BACKEND) when the engine fails."""
        import torch

        arrays = {name: self._as_graph(name, array) for name, array in inputs.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        profile = choose_profile(self._profiles, shapes, self._model_name)
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                held = [self._bind(name, array) for name, array in self._select(profile, arrays)]
                results = self._execute(shapes)
                self._stream.synchronize()
                del held
                return {name: self._as_numpy(name, results[name]) for name in names}
        except SlipwayError:
            raise
        except Exception as error:  # torch and CUDA raise RuntimeError and their own subclasses of it
            raise internal(f"TensorRT: {error}", reason=FailureReason.BACKEND) from error

    def _select(self, profile: int, arrays: Arrays) -> list[tuple[str, np.ndarray]]:
        """Switch to the profile, then return the arrays to bind, in the order that the library needs."""
        if profile != self._profile:
            self._require(self._context.set_optimization_profile_async(profile, self._stream.cuda_stream), "profile")
            self._profile = profile
        return list(arrays.items())

    def _bind(self, name: str, array: np.ndarray) -> Any:
        """Give an input to the context; return the tensor, which must live until the execution ends."""
        tensor = to_torch(name, array)
        if name not in self._plan.host:
            tensor = tensor.to(self._device)
            self._require(self._context.set_input_shape(name, tuple(array.shape)), f"shape of input '{name}'")
        self._require(self._context.set_tensor_address(name, self._address(tensor)), f"address of input '{name}'")
        return tensor

    def _execute(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        import torch

        if missing := self._context.infer_shapes():
            raise internal(f"TensorRT: no shape or value for {', '.join(missing)}", reason=FailureReason.BACKEND)
        results = {}
        for name, described in self._plan.graph.outputs.items():
            shape = tuple(self._context.get_tensor_shape(name))
            if -1 in shape:
                raise unsupported(
                    f"model '{self._model_name}': the shape of output '{name}' depends on the values of the inputs, "
                    f"which the tensorrt backend does not support"
                )
            place = "cpu" if name in self._plan.host else self._device
            results[name] = torch.empty(shape, dtype=getattr(torch, _TORCH[described.config_type]), device=place)
            self._require(self._context.set_tensor_address(name, self._address(results[name])), f"output '{name}'")
        given = ", ".join(f"'{name}' {list(shape)}" for name, shape in shapes.items())
        self._require(self._context.execute_async_v3(self._stream.cuda_stream), f"execution with {given}")
        return results

    def _address(self, tensor: Any) -> int:
        """Return the tensor's address; an empty tensor has none, and TensorRT does not accept a null pointer."""
        return int(tensor.data_ptr() or self._no_elements.data_ptr())

    def _as_graph(self, name: str, array: np.ndarray) -> np.ndarray:
        return array if self._plan.graph.inputs[name].dims else as_scalar(array)

    def _as_numpy(self, name: str, tensor: Any) -> np.ndarray:
        datatype = BY_CONFIG_NAME[self._plan.graph.outputs[name].config_type]
        array = to_numpy(name, tensor, datatype.name)
        return as_declared(self._scalars[name], array) if name in self._scalars else array

    def _require(self, done: bool, what: str) -> None:
        if not done:
            raise internal(f"TensorRT refused: {what}", reason=FailureReason.BACKEND)
