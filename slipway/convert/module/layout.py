"""The config.pbtxt of what was converted: the model itself, and an ensemble of one step that is its other name.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.module.io_config import IoTensor, ModelIo
from slipway.convert.module.options import ModuleOptions

# Kind of model -> suffix of its name, platform, file in the version directory.
ONNX: Final = "onnx"
TENSORRT: Final = "trt"
PLATFORMS: Final = {ONNX: "onnxruntime_onnx", TENSORRT: "tensorrt_plan"}
FILES: Final = {ONNX: "model.onnx", TENSORRT: "model.plan"}


def model_config(options: ModuleOptions, io: ModelIo, kind: str, inputs: Sequence[IoTensor]) -> pb.ModelConfig:
    """Return the configuration of `<name>_<kind>` with these of the inputs."""
    config = _interface(f"{options.model_name}_{kind}", PLATFORMS[kind], options, io, inputs)
    if options.dynamic_batching:
        config.dynamic_batching.preferred_batch_size.extend(options.batch_sizes)
        config.dynamic_batching.max_queue_delay_microseconds = options.max_queue_delay
    return config


def alias_config(options: ModuleOptions, io: ModelIo, target: str, inputs: Sequence[IoTensor]) -> pb.ModelConfig:
    """Return the configuration of `--serve-name`: an ensemble that hands every request to the model `target`."""
    config = _interface(options.serve_name, "ensemble", options, io, inputs)
    config.ensemble_scheduling.step.add(
        model_name=target,
        model_version=-1,
        input_map={tensor.name: tensor.name for tensor in inputs},
        output_map={tensor.name: tensor.name for tensor in io.outputs},
    )
    return config


def config_text(config: pb.ModelConfig) -> str:
    """Return the text of config.pbtxt."""
    return text_format.MessageToString(config)


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
    return pb.DataType.Value(tensor.datatype.config_name)
