"""EXECUTION_MODE: the parameter that says where a Python model runs."""

from __future__ import annotations

from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import Placement
from slipway.backends.shared.parameters import parameter_problem
from slipway.errors import refused

_PARAMETER: Final = "EXECUTION_MODE"
_PLACEMENTS: Final = {"process": Placement.PROCESS, "thread": Placement.THREAD}


def placement(config: model_config_pb2.ModelConfig) -> Placement:
    """Return where the model is to run; the default is a process of its own. Raise `SlipwayError` for another word."""
    mode = config.parameters[_PARAMETER].string_value if _PARAMETER in config.parameters else "process"
    if mode.lower() not in _PLACEMENTS:
        text = f"model '{config.name}': {_PARAMETER} is '{mode}', expected 'process' or 'thread'"
        raise refused(parameter_problem(_PARAMETER, text))
    return _PLACEMENTS[mode.lower()]
