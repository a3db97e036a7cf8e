"""Slipway's own keys among a LightSeq model's `parameters`: the engine, its precision, the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.parameters import Parameters
from slipway.errors import invalid


@dataclass(frozen=True, slots=True)
class LightSeqSettings:
    """The settings of a model. `seed` None: a random one per request; `norm_epsilon` None: the file format's value."""

    model_type: str
    engine: str = "auto"
    compute_type: str = "float32"
    seed: int | None = None
    norm_epsilon: float | None = None
    default_priority: int = 0  # of requests without a priority


def read_settings(config: model_config_pb2.ModelConfig) -> LightSeqSettings:
    """Return the settings of a model; raise INVALID_ARG for a value that cannot be read."""
    parameters = Parameters(config)
    return LightSeqSettings(
        model_type=parameters.text("model_type"),
        engine=parameters.text("ENGINE") or "auto",
        compute_type=parameters.text("COMPUTE_TYPE") or "float32",
        seed=parameters.integer("RANDOM_SEED") if "RANDOM_SEED" in parameters else None,
        norm_epsilon=_epsilon(parameters.text("LAYER_NORM_EPSILON"), config.name),
        default_priority=config.dynamic_batching.default_priority_level,
    )


def _epsilon(text: str, model_name: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise invalid(
            f"unable to load model '{model_name}', parameter 'LAYER_NORM_EPSILON' is '{text}': expected a number "
            f"between 0 and 1, for example 1e-5"
        )
    return value
