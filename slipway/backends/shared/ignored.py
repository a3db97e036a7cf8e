"""Settings that a backend recognises but does not act on: a load logs them, the linter reports them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.registry import BUILT_IN
from slipway.problems import FieldPath, Named, Problem, Rule

ON_CPU: Final = ", the model runs on the CPU"


def ignored(what: str, why: str, path: FieldPath) -> Problem:
    """Return the problem of a setting at `path` that has no effect; `why` says what happens instead."""
    return Problem(Rule.WITHOUT_EFFECT, f"{what} is ignored{why}", path, "remove it unless another server needs it")


def ignored_parameter(key: str, why: str = "") -> Problem:
    """Return the problem of a parameter that has no effect."""
    return ignored(f"parameter '{key}'", why, ("parameters", Named(key, "key")))


def ignored_parameters(config: model_config_pb2.ModelConfig, backend: str, why: str = "") -> list[Problem]:
    """Return the parameters of `config` that `backend` is known to ignore (registry.py)."""
    return [ignored_parameter(key, why) for key in BUILT_IN[backend].ignored_keys if key in config.parameters]


def ignored_accelerators(config: model_config_pb2.ModelConfig, *, kept: str = "") -> list[Problem]:
    """Return the execution accelerators that do nothing on a CPU: all except the CPU accelerator named `kept`."""
    accelerators = config.optimization.execution_accelerators
    words = []
    for field in ("gpu_execution_accelerator", "cpu_execution_accelerator"):
        for index, each in enumerate(getattr(accelerators, field)):
            if field == "gpu_execution_accelerator" or each.name.lower() != kept:
                path = ("optimization", "execution_accelerators", field, index)
                words.append(ignored(f"execution accelerator '{each.name}'", ON_CPU, path))
    return words


def log_ignored(log: logging.Logger, model: str, problems: Iterable[Problem]) -> None:
    """Log each problem as a warning."""
    for problem in problems:
        log.warning("model '%s': %s", model, problem)
