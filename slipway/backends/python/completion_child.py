"""The child process that runs a model's `auto_complete_config`: reads the job from stdin, writes to the given file."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from slipway.backends.python.errors import describe_exception
from slipway.backends.python.importing import import_alone
from slipway.backends.python.model_config import ModelConfig
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.server import Cancel, Metrics
from slipway.backends.python.surface import build_surface
from slipway.core.pending import Deliver
from slipway.core.request import InferRequest
from slipway.errors import unavailable


class NoServer:
    """A `ServerServices` that offers nothing: a model cannot use the server while its configuration is completed."""

    @property
    def metrics(self) -> Metrics:
        """Raise: metrics are not available yet."""
        _refuse()

    def submit(self, _request: InferRequest, _deliver: Deliver, *, decoupled: bool) -> Cancel:  # noqa: ARG002
        """Raise: requests cannot run yet."""
        _refuse()

    def load_model(self, _name: str, _config: str | None, _files: Mapping[str, bytes]) -> None:
        """Raise: models cannot be loaded yet."""
        _refuse()

    def unload_model(self, _name: str, _unload_dependents: bool) -> None:
        """Raise: models cannot be unloaded yet."""
        _refuse()

    def is_model_ready(self, _name: str, _version: str) -> bool:
        """Raise: readiness is not known yet."""
        _refuse()


def _refuse() -> NoReturn:
    raise unavailable("the server cannot be used while a configuration is being completed")


def complete(job: Mapping[str, str]) -> dict[str, Any]:
    """Return {"config": completed configuration, or None without the hook}, or {"error": text}."""
    model_file = Path(job["model_file"])
    name = job["model_name"]
    scope = ModelScope(NoServer(), name, job["model_directory"], str(model_file.parent))
    try:
        user_class = import_alone(model_file, build_surface(scope)).TritonPythonModel
        if not hasattr(user_class, "auto_complete_config"):
            return {"config": None}
        completed = user_class.auto_complete_config(ModelConfig(job["config"]))
        if not isinstance(completed, ModelConfig):
            return {
                "error": f"auto_complete_config function in model '{name}' must return a valid pb.ModelConfig object."
            }
        return {"config": completed.as_dict()}
    except BaseException as error:  # noqa: BLE001  user code may raise anything, SystemExit too
        return {"error": describe_exception(error, job["model_directory"])}


def main() -> None:
    """Run the job and exit."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(filename)s:%(lineno)d %(message)s")
    descriptor = int(sys.argv[1])  # the model's code gets an empty command line
    result = complete(json.loads(sys.stdin.buffer.read()))
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
