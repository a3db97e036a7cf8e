"""Build a TensorRT engine from an ONNX file, and run it for the comparison with its reference.

The shape profiles are pure. Everything else needs an NVIDIA GPU and the package `tensorrt`, imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.convert.arrays import Arrays, Run
from slipway.convert.tensors import IoTensor
from slipway.errors import invalid, unavailable

_OPTIMAL_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class InputProfile:
    """The shapes of one input that an engine supports: the smallest, the one it is tuned for, and the largest."""

    name: str
    smallest: tuple[int, ...]
    optimal: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Build settings of an engine; `workspace` is in bytes."""

    profiles: tuple[InputProfile, ...]
    workspace: int
    fp16: bool
    int8: bool
    tf32: bool = True  # rounds FP32 to a 10-bit mantissa: off where differences may not exceed 1e-4

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the builder flags to set."""
        choices = (("TF32", self.tf32), ("FP16", self.fp16), ("INT8", self.int8))
        return ("SPARSE_WEIGHTS", *(name for name, wanted in choices if wanted))


def profiles(inputs: Sequence[IoTensor], *, most_rows: int, length: int) -> tuple[InputProfile, ...]:
    """Return one profile per input: 1 to `most_rows` rows, tuned for 8; a variable dimension ranges from 1 to
    `length`."""
    best = min(_OPTIMAL_ROWS, most_rows)
    return tuple(
        InputProfile(tensor.name, tensor.filled(1, 1), tensor.filled(best, length), tensor.filled(most_rows, length))
        for tensor in inputs
    )


def refusal() -> str:
    """Return why this machine cannot build an engine, "" if it can."""
    import torch

    if find_spec("tensorrt") is None:
        return "the package 'tensorrt' is not installed"
    if not torch.cuda.is_available():
        return "CUDA finds no usable NVIDIA GPU"
    return ""


def build_engine(onnx: Path, plan: Path, settings: EngineSettings, samples: Sequence[Arrays]) -> None:
    """Write the serialised engine of `onnx` to `plan`; `samples` calibrate INT8.

    Raise INVALID_ARG with TensorRT's own message if it cannot parse or build the model.
    """
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)  # the only way since TensorRT 10
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise invalid(f"TensorRT cannot parse '{onnx.name}': {reasons}")
    config = _builder_config(trt, builder, settings, samples)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise invalid(
            f"TensorRT cannot build an engine of '{onnx.name}' with a workspace of {settings.workspace} bytes: "
            f"see its log above; a larger --memory-pool-limit may help"
        )
    plan.write_bytes(bytes(serialised))


def _builder_config(trt: Any, builder: Any, settings: EngineSettings, samples: Sequence[Arrays]) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    for flag in settings.flags:
        if not hasattr(trt.BuilderFlag, flag):  # later versions only use the precision in the graph
            raise unavailable(f"TensorRT {trt.__version__} has no builder flag {flag}; versions 8.6 to 10 have it")
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if not settings.tf32 and hasattr(trt.BuilderFlag, "TF32"):  # it is on unless cleared
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    for each in settings.profiles:
        profile.set_shape(each.name, each.smallest, each.optimal, each.largest)
    config.add_optimization_profile(profile)
    if settings.int8:
        config.int8_calibrator = _calibrator(trt, samples)
        config.set_calibration_profile(profile)
    return config


def _calibrator(trt: Any, samples: Sequence[Arrays]) -> Any:
    """Return a calibrator that feeds TensorRT the samples from which it derives the INT8 ranges."""
    import torch

    class Samples(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # base class known only if tensorrt is installed
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)  # NVIDIA's bindings require the explicit call on the base
            self._waiting = list(samples)
            self._held: list[Any] = []  # device memory must outlive the call that returns its address

        def get_batch_size(self) -> int:
            return len(next(iter(samples[0].values())))

        def get_batch(self, names: Sequence[str]) -> list[int] | None:
            if not self._waiting:
                return None
            arrays = self._waiting.pop(0)
            self._held = [torch.from_numpy(arrays[name]).cuda().contiguous() for name in names]
            return [tensor.data_ptr() for tensor in self._held]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            """Keep nothing, because the cache would be read for other models too."""

    return Samples()


def engine_runner(plan: Path, output_types: dict[str, np.dtype]) -> Run:
    """Return a function that runs the engine of `plan` on the current GPU."""
    import tensorrt as trt
    import torch

    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise unavailable(f"TensorRT cannot load the engine that it has just written to '{plan.name}'")
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]

    def run(arrays: Arrays) -> Arrays:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            tensors = {name: torch.from_numpy(arrays[name]).cuda().contiguous() for name in inputs}
            for name, tensor in tensors.items():
                context.set_input_shape(name, tuple(tensor.shape))
            for name, dtype in output_types.items():
                empty = torch.from_numpy(np.empty(tuple(context.get_tensor_shape(name)), dtype))
                tensors[name] = empty.cuda()
            for name, tensor in tensors.items():
                context.set_tensor_address(name, tensor.data_ptr())
            context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return {name: tensors[name].cpu().numpy() for name in output_types}

    return run
