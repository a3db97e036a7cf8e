"""The parameter PREPARED_TOKENS: which input shapes are prepared in the background after a load.

It matters for libraries that compile for each new shape (OpenVINO). Triton ignores the key. Looks only at one
configuration; `core/shapes.py` derives the shapes.
"""

from __future__ import annotations

from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.core.padding import PaddingRule
from slipway.problems import Named, Problem, Rule

PREPARED_TOKENS: Final = "PREPARED_TOKENS"  # batches of at most this many tokens are prepared; 0 turns it off
DEFAULT_TOKENS: Final = 128  # where lengths are rounded up, so that there are few of them
MAX_TOKENS: Final = 8192

_PATH: Final = ("parameters", Named(PREPARED_TOKENS, "key"), "value")
_COMPILING: Final = "openvino"  # the backend, and the accelerator of the backend onnxruntime


def prepared_problems(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return what is wrong with the key of `config`."""
    text = _text(config)
    if text is None or (text.isdecimal() and int(text) <= MAX_TOKENS):
        return []
    problem = (
        f"parameter '{PREPARED_TOKENS}' of model '{config.name}' is '{text}', but it must be a whole number from 0 to "
        f"{MAX_TOKENS}"
    )
    return [Problem(Rule.PARAMETER_INVALID, problem, _PATH, "correct the value, or remove the parameter")]


def prepared_without_effect(config: model_config_pb2.ModelConfig) -> list[Problem]:
    """Return a problem if `config` has the key, but no library that compiles for each new shape."""
    accelerators = config.optimization.execution_accelerators.cpu_execution_accelerator
    libraries = {config.backend, *(each.name for each in accelerators)}
    if _text(config) is None or _COMPILING in libraries:
        return []
    text = f"{PREPARED_TOKENS} has no effect: of the libraries that run models, only OpenVINO compiles for each shape"
    return [Problem(Rule.WITHOUT_EFFECT, text, _PATH, "remove it")]


def prepared_tokens(config: model_config_pb2.ModelConfig, padding: PaddingRule | None) -> int:
    """Return the most tokens of a prepared batch in a valid `config`. Without the key, nothing is prepared unless the
    `padding` rule rounds lengths up: a shape costs memory whether a request has it or not."""
    text = _text(config)
    if text is not None:
        return int(text)
    return DEFAULT_TOKENS if padding is not None and padding.step > 1 else 0


def _text(config: model_config_pb2.ModelConfig) -> str | None:
    return config.parameters[PREPARED_TOKENS].string_value.strip() if PREPARED_TOKENS in config.parameters else None
