"""Build the frozen `ModelSignature` of a normalised configuration, with the contents of its label files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.config.padding import padding_rule
from slipway.config.ragged import ragged_batch
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.datatypes import BY_CONFIG_NAME
from slipway.errors import refused
from slipway.problems import Named, Problem, Rule

MAX_LABEL_BYTES: Final = 16 << 20  # a million labels of 16 bytes


def build_signature(config: model_config_pb2.ModelConfig, model_directory: Path) -> ModelSignature:
    """Return the model's inputs and outputs; raise INVALID_ARG for an unreadable or too large label file or invalid
    batching by length."""
    inputs = {
        declared.name: _spec(declared, optional=declared.optional, ragged=declared.allow_ragged_batch)
        for declared in config.input
    }
    outputs = {
        declared.name: _spec(declared, labels=tuple(_labels(declared, model_directory))) for declared in config.output
    }
    return ModelSignature(
        config.name,
        config.max_batch_size,
        inputs,
        outputs,
        decoupled=config.model_transaction_policy.decoupled,
        required_inputs=frozenset(name for name, spec in inputs.items() if not spec.optional),
        padding=padding_rule(config),
        ragged=ragged_batch(config),
    )


def tensor_spec(declared: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> TensorSpec:
    """Return the part of a declared tensor that inputs and outputs share: name, type, shape."""
    return _spec(declared)


def _spec(declared: Any, *, optional: bool = False, ragged: bool = False, labels: tuple[str, ...] = ()) -> TensorSpec:
    return TensorSpec(
        declared.name,
        BY_CONFIG_NAME[model_config_pb2.DataType.Name(declared.data_type)].name,
        tuple(declared.dims),
        reshape=tuple(declared.reshape.shape) if declared.HasField("reshape") else None,
        optional=optional,
        ragged=ragged,
        labels=labels,
    )


def _labels(declared: model_config_pb2.ModelOutput, model_directory: Path) -> list[str]:
    """Return the lines of the output's label file; `validate` has ensured that it is inside the directory."""
    if not declared.label_filename:
        return []
    try:
        with (model_directory / declared.label_filename).open("rb") as file:
            content: bytes = file.read(MAX_LABEL_BYTES + 1)
        if len(content) <= MAX_LABEL_BYTES:
            text = content.decode("utf-8")
            return text.splitlines()
        reason = f"it has more than {MAX_LABEL_BYTES >> 20} MiB"
    except OSError as error:
        reason = str(error.strerror)
    except UnicodeDecodeError:
        reason = "it is not valid UTF-8"
    message = f"cannot read label file '{declared.label_filename}' of output '{declared.name}': {reason}"
    path = ("output", Named(declared.name), "label_filename")
    raise refused(Problem(Rule.LABEL_FILE_MISSING, message, path, "put the file next to config.pbtxt"))
