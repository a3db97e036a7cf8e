"""The parameter PREPARED_TOKENS: which input shapes are prepared in the background after a load.

It matters for libraries that compile for each new shape (OpenVINO). Triton ignores the key. Looks only at one
configuration; `core/shapes.py` derives the shapes.
"""

from __future__ import annotations

from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.accelerators import OPENVINO, cpu_accelerator
from slipway.config.numbers import whole_number
from slipway.core.padding import PaddingRule
from slipway.core.shapes import have_one_length
from slipway.errors import shown
from slipway.problems import Named, Problem, Rule

PREPARED_TOKENS: Final = "PREPARED_TOKENS"  # batches of at most this many tokens are prepared; 0 turns it off
DEFAULT_TOKENS: Final = 128  # where lengths are rounded up, so that there are few of them
MAX_TOKENS: Final = 8192

_PATH: Final = ("parameters", Named(PREPARED_TOKENS, "key"), "value")


def prepared_problems(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return what is wrong with the key of `config`."""
    text = _text(config)
    tokens = 0 if text is None else whole_number(text)
    if tokens is not None and tokens <= MAX_TOKENS:
        return []
    problem = (
        f"parameter '{PREPARED_TOKENS}' of model '{config.name}' is '{shown(text or '')}', but it must be a whole "
        f"number from 0 to {MAX_TOKENS}"
    )
    return [Problem(Rule.PARAMETER_INVALID, problem, _PATH, "correct the value, or remove the parameter")]


def prepared_without_effect(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return a problem if the completed `config` has the key, but no shapes that are compiled one by one."""
    if _text(config) is None:
        return []
    if config.backend != OPENVINO and cpu_accelerator(config, OPENVINO) is None:
        reason = "of the libraries that run models, only OpenVINO compiles for each shape"
    elif config.input and not _has_one_length(config):
        reason = "it is for models whose inputs vary in one dimension, as texts vary in length"
    else:
        return []
    return [Problem(Rule.WITHOUT_EFFECT, f"{PREPARED_TOKENS} has no effect: {reason}", _PATH, "remove it")]


def _has_one_length(config: model_config_pb2.ModelConfig) -> bool:
    return have_one_length((each.dims, each.allow_ragged_batch or each.HasField("reshape")) for each in config.input)


def prepared_tokens(config: model_config_pb2.ModelConfig, padding: PaddingRule | None) -> int:
    """Return the maximum number of tokens in a prepared batch. Without the key, nothing is prepared unless the
    `padding` rule rounds lengths up: a shape costs memory whether a request has it or not."""
    text = _text(config)
    if text is not None:
        return int(text)
    return DEFAULT_TOKENS if padding is not None and padding.step > 1 else 0


def _text(config: model_config_pb2.ModelConfig) -> str | None:
    return config.parameters[PREPARED_TOKENS].string_value.strip() if PREPARED_TOKENS in config.parameters else None
