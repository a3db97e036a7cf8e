"""The config.pbtxt files of a converted module: the model itself, and a one-step ensemble as its alias.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.configs import config_type, ensemble_step
from slipway.convert.module.io_config import ModelIo
from slipway.convert.module.options import ModuleOptions
from slipway.convert.tensors import IoTensor

# Kind of model -> suffix of its name, platform, file in the version directory.
ONNX: Final = "onnx"
TENSORRT: Final = "trt"
PLATFORMS: Final = {ONNX: "onnxruntime_onnx", TENSORRT: "tensorrt_plan"}
FILES: Final = {ONNX: "model.onnx", TENSORRT: "model.plan"}


def model_config(options: ModuleOptions, io: ModelIo, kind: str, inputs: Sequence[IoTensor]) -> pb.ModelConfig:
    """Return the configuration of `<name>_<kind>` with the given inputs."""
    config = _interface(f"{options.model_name}_{kind}", PLATFORMS[kind], options, io, inputs)
    if options.dynamic_batching:
        config.dynamic_batching.preferred_batch_size.extend(options.batch_sizes)
        config.dynamic_batching.max_queue_delay_microseconds = options.max_queue_delay
    return config


def alias_config(options: ModuleOptions, io: ModelIo, target: str, inputs: Sequence[IoTensor]) -> pb.ModelConfig:
    """Return the configuration of `--serve-name`: an ensemble that passes every request to the model `target`."""
    config = _interface(options.serve_name, "ensemble", options, io, inputs)
    step = ensemble_step(target, [tensor.name for tensor in inputs], [tensor.name for tensor in io.outputs])
    config.ensemble_scheduling.step.append(step)
    return config


def _interface(
    name: str, platform: str, options: ModuleOptions, io: ModelIo, inputs: Sequence[IoTensor]
) -> pb.ModelConfig:
    return pb.ModelConfig(
        name=name,
        platform=platform,
        max_batch_size=options.max_batch_size,
        input=[pb.ModelInput(name=each.name, data_type=_type(each), dims=each.shape) for each in inputs],
        output=[pb.ModelOutput(name=each.name, data_type=_type(each), dims=each.shape) for each in io.outputs],
    )


def _type(tensor: IoTensor) -> pb.DataType:
    return config_type(tensor.datatype.name)
