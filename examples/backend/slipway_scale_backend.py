"""The backend `scale`: OUTPUT is INPUT times the number in the version directory's scale.txt.

It shows everything that a backend needs: `complete` fills in what config.pbtxt leaves out; `load` returns the loaded
version, here as a function of arrays that every instance calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, ModelContext
from slipway.backends.shared.stacked import StackedModel
from slipway.errors import invalid, unavailable

FILE = "scale.txt"


class ScaleBackend:
    """Loads models that multiply by a number."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Declare INPUT and OUTPUT, vectors of FP32, and the server's default batch size, if they are left out."""
        if config.input or config.output:
            return
        config.max_batch_size = config.max_batch_size or context.default_max_batch_size
        for name, declared in (("INPUT", config.input), ("OUTPUT", config.output)):
            declared.add(name=name, data_type=model_config_pb2.TYPE_FP32, dims=[-1])

    def load(self, context: ModelContext) -> StackedModel:
        """Read the number; raise `SlipwayError` if there is none."""
        scale = np.float32(_read(context.version_directory / FILE, context.name))

        def run(inputs: dict[str, np.ndarray], _names: Sequence[str]) -> dict[str, np.ndarray]:
            return {"OUTPUT": inputs["INPUT"] * scale}

        return StackedModel(context, lambda _instance: run)


def _read(path: Path, model_name: str) -> float:
    try:
        return float(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unavailable(f"unable to load model '{model_name}', '{path}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise invalid(f"unable to load model '{model_name}', '{path}' does not contain a number") from error
