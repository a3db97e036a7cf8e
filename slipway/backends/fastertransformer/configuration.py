"""Read the `parameters` of a FasterTransformer config.pbtxt once, into a frozen value.

Upstream's keys are read as leniently as upstream reads them: a count that is not a number becomes 0, with a warning.
Slipway's own keys (ENGINE, COMPUTE_TYPE, DEVICE, MAX_INPUT_LEN, MAX_OUTPUT_LEN) are strict. Opens no file and no
engine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.parameters import Parameters
from slipway.errors import invalid, unsupported
from slipway.machine import has_gpu
from slipway.transformer.options import COMPUTE_TYPES, ENGINES

_LOG: Final = logging.getLogger("slipway.fastertransformer")
_HALF_TYPES: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
MAX_INPUT: Final = 8192  # tokens of one sequence; the memory for attention grows with their square
MAX_OUTPUT: Final = 16384
MAX_BEAMS: Final = 64  # FasterTransformer's own limit


class ModelType(Enum):
    """`model_type` of config.pbtxt."""

    T5 = "T5"
    T5_ENCODER = "T5-Encoder"
    GPT = "GPT"
    BERT = "bert"


@dataclass(frozen=True, slots=True)
class SequenceLimits:
    """Maximum lengths of a request's inputs and outputs: they limit what a client can make the server allocate."""

    input_tokens: int = MAX_INPUT
    output_tokens: int = MAX_OUTPUT
    output_elements: int = 1 << 26  # rows x beams x tokens of one request: 256 MiB of ids


@dataclass(frozen=True, slots=True)
class Configuration:
    """The parameters of one model. `values` has all of them as written."""

    model: str
    type: ModelType
    data_type: str  # fp32, fp16, bf16; "" if the file does not say
    tensor_parallel: int
    engine: str
    compute_type: str
    device: str
    limits: SequenceLimits
    values: Mapping[str, str]

    def whole(self, key: str, default: int = 0) -> int:
        """Return an upstream count; a value that is not a number becomes 0, with a warning."""
        return lenient_integer(self.model, self.values, key, default)

    def number(self, key: str, default: float) -> float:
        """Return an upstream figure; raise INVALID_ARG when it is not a number."""
        text = self.values.get(key, "")
        try:
            return float(text) if text else default
        except ValueError:
            raise invalid(f"unable to load model '{self.model}', parameter '{key}': '{text}' is not a number") from None


def read_configuration(config: model_config_pb2.ModelConfig) -> Configuration:
    """Return the parameters of `config`; raise UNSUPPORTED for a model type that is not served."""
    values = values_of(config)
    parameters = Parameters(config)
    data_type = data_type_of(config)
    device = _device(parameters)
    kind = model_type(config)
    pipeline = lenient_integer(config.name, values, "pipeline_para_size", 1)
    ranks = lenient_integer(config.name, values, "tensor_para_size", 1)
    if pipeline > 1 or ranks > 1:
        _LOG.info(
            "model '%s': a checkpoint split %d x %d ways is merged and runs on one device", config.name, ranks, pipeline
        )
    return Configuration(
        model=config.name,
        type=kind,
        data_type=data_type,
        tensor_parallel=ranks,
        engine=_choice(parameters, "ENGINE", ENGINES, "auto"),
        compute_type=_compute_type(parameters, values, kind, data_type=data_type, device=device, model=config.name),
        device=device,
        limits=SequenceLimits(
            _limit(parameters, "MAX_INPUT_LEN", MAX_INPUT), _limit(parameters, "MAX_OUTPUT_LEN", MAX_OUTPUT)
        ),
        values=values,
    )


def values_of(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    """Return the string parameters of `config`."""
    return {key: value.string_value.strip() for key, value in config.parameters.items()}


def model_type(config: model_config_pb2.ModelConfig) -> ModelType:
    """Return the model type that `config` names; raise UNSUPPORTED for an unknown one."""
    text = values_of(config).get("model_type", "")
    try:
        return ModelType(text)
    except ValueError:
        served = ", ".join(each.value for each in ModelType)
        raise unsupported(
            f"Unknown model \"{text}\": parameter 'model_type' of model '{config.name}' must be one of {served}"
        ) from None


def data_type_of(config: model_config_pb2.ModelConfig) -> str:
    """Return `data_type` (or the meaning of the first interface's `is_half`), "" if neither is set."""
    values = values_of(config)
    text = values.get("data_type", "").lower()
    if not text and "is_half" in values:
        return "fp16" if lenient_integer(config.name, values, "is_half", 0) else "fp32"
    if text and text not in _HALF_TYPES:
        raise invalid(
            f"unable to load model '{config.name}', parameter 'data_type' is '{text}', "
            f"expected {', '.join(_HALF_TYPES)}"
        )
    return text


def lenient_integer(model: str, values: Mapping[str, str], key: str, default: int) -> int:
    """Return a count as upstream reads it: a value that is not a number becomes 0, with a warning."""
    text = values.get(key, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        _LOG.warning("model '%s': parameter '%s' is '%s', which is not a number: 0 is used", model, key, text)
        return 0


def _choice(parameters: Parameters, key: str, words: tuple[str, ...], default: str) -> str:
    text = parameters.text(key) or default
    if text not in words:
        raise invalid(f"parameter '{key}' is '{text}', expected one of {', '.join(words)}")
    return text


def _limit(parameters: Parameters, key: str, default: int) -> int:
    value = parameters.integer(key, default)
    if value < 1:
        raise invalid(f"parameter '{key}' is {value}, expected a positive number of tokens")
    return value


def _device(parameters: Parameters) -> str:
    """Return where to compute: FasterTransformer's files say KIND_CPU and mean all GPUs."""
    text = parameters.text("DEVICE") or "auto"
    if text != "auto":
        return text
    if not has_gpu():
        return "cpu"
    import torch  # only if the driver shows a GPU: a server that uses only CTranslate2 need not import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _compute_type(
    parameters: Parameters, values: Mapping[str, str], kind: ModelType, *, data_type: str, device: str, model: str
) -> str:
    explicit = parameters.text("COMPUTE_TYPE")
    if explicit:
        return _choice(parameters, "COMPUTE_TYPE", COMPUTE_TYPES, explicit)
    if lenient_integer(model, values, "int8_mode", 0):
        if kind is ModelType.GPT:
            return "int8"
        _LOG.warning(
            "model '%s': int8_mode is ignored for %s; set the parameter COMPUTE_TYPE to int8 instead", model, kind.value
        )
    if device != "cpu":
        return _HALF_TYPES[data_type or "fp32"]
    if data_type not in ("", "fp32"):
        _LOG.info("model '%s': data_type %s is computed in float32 on a CPU", model, data_type)
    return "float32"
