"""Execution accelerators of a configuration; names are compared without case, as Triton does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tritonclient.grpc import model_config_pb2

OPENVINO: Final = "openvino"


def cpu_accelerator(config: model_config_pb2.ModelConfig, name: str) -> Mapping[str, str] | None:
    """Return the parameters of the CPU accelerator `name`, None if `config` does not have it."""
    for accelerator in config.optimization.execution_accelerators.cpu_execution_accelerator:
        if accelerator.name.lower() == name:
            return {key: value.strip() for key, value in accelerator.parameters.items()}
    return None
