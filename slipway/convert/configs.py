"""Building blocks for the configs of converted models: tensors, Python models, ensemble steps, files.

Independent of model families; the `package.py` of each wing decides which models are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.models import model_source
from slipway.core.signature import TensorSpec
from slipway.datatypes import BY_NAME

VERSION = "1"


def model_name(name: str) -> str:
    """Return the name of the model that the ensemble `name` wraps."""
    return f"{name}-model"


def config_text(config: pb.ModelConfig) -> str:
    """Return the text of config.pbtxt."""
    return text_format.MessageToString(config)


def write_config(directory: Path, config: pb.ModelConfig) -> None:
    """Write `config` into the model's directory, which must exist."""
    (directory / "config.pbtxt").write_text(config_text(config))


def write_python_model(directory: Path, config: pb.ModelConfig, template: str) -> Path:
    """Write a config and the Python model `template` (see `convert.models`) into `directory`, which must not exist;
    return the version's directory, for the files that the model reads."""
    version = directory / VERSION
    version.mkdir(parents=True)
    write_config(directory, config)
    (version / "model.py").write_text(model_source(template), encoding="utf-8")
    return version


def write_ensemble(directory: Path, config: pb.ModelConfig) -> None:
    """Write an ensemble into `directory`, with an empty version directory."""
    (directory / VERSION).mkdir(parents=True)
    (directory / VERSION / ".gitkeep").touch()  # Triton requires the directory, and git does not track empty ones
    write_config(directory, config)


def model_input(spec: TensorSpec) -> pb.ModelInput:
    """Return `spec` as an input of a config."""
    kind, shape = config_type(spec.datatype), _reshape(spec)
    return pb.ModelInput(name=spec.name, data_type=kind, dims=spec.dims, reshape=shape, optional=spec.optional)


def model_output(spec: TensorSpec) -> pb.ModelOutput:
    """Return `spec` as an output of a config."""
    return pb.ModelOutput(name=spec.name, data_type=config_type(spec.datatype), dims=spec.dims, reshape=_reshape(spec))


def _reshape(spec: TensorSpec) -> pb.ModelTensorReshape | None:
    return None if spec.reshape is None else pb.ModelTensorReshape(shape=spec.reshape)


def config_type(datatype: str) -> pb.DataType:
    """Return the config's name for a datatype of the protocol."""
    return pb.DataType.Value(BY_NAME[datatype].config_name)


def python_config(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_batch: int, parameters: dict[str, str]
) -> pb.ModelConfig:
    """Return the config of a Python model, such as a tokenizer, that surrounds the converted model."""
    # Makes Slipway run the model in a server thread instead of a child process; Triton ignores the key.
    parameters = {"EXECUTION_MODE": "thread", **parameters}
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=max_batch,
        input=[model_input(spec) for spec in inputs],
        output=[model_output(spec) for spec in outputs],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
        parameters={key: pb.ModelParameter(string_value=value) for key, value in parameters.items()},
    )


def ensemble_step(model: str, inputs: Sequence[str], outputs: Sequence[str]) -> pb.ModelEnsembling.Step:
    """Return an ensemble step that keeps the tensor names of its model."""
    return pb.ModelEnsembling.Step(
        model_name=model,
        model_version=-1,
        input_map={each: each for each in inputs},
        output_map={each: each for each in outputs},
    )
