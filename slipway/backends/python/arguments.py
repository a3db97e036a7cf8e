"""How a model is started: the path of its file, and the `args` of its `initialize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from slipway.backends.api import InstanceSpec, ModelContext
from slipway.config.render import config_json
from slipway.errors import Code, SlipwayError, refused
from slipway.problems import Problem, Rule

_DEFAULT_FILE: Final = "model.py"


def model_file(version_directory: Path, default_model_filename: str) -> Path:
    """Return the model's Python file; raise `SlipwayError` when there is none."""
    name = default_model_filename or _DEFAULT_FILE
    if not name.endswith(".py"):
        text = f"Failed to preinitialize Python stub: Model name must end with '.py'. Model name is \"{name}\""
        fix = "name the model's Python file, or remove the field to use model.py"
        raise refused(Problem(Rule.CONFIG_INVALID, text, ("default_model_filename",), fix), code=Code.INTERNAL)
    path = version_directory / name
    if not path.is_file():
        raise missing_file(version_directory, name)
    return path


def missing_file(version_directory: Path, name: str) -> SlipwayError:
    """Return Triton's error for a model without its file; the path is relative to the model."""
    text = f"Failed to preinitialize Python stub: Python model file not found in '{version_directory.name}/{name}'"
    fix = "put the file there or set default_model_filename"
    return refused(Problem(Rule.FILE_MISSING, text, fix=fix), code=Code.INTERNAL)


def initialize_arguments(context: ModelContext, spec: InstanceSpec) -> dict[str, Any]:
    """Return the `args` of `initialize`; every value is a str, as in Triton."""
    return {
        "model_config": config_json(context.config).decode(),
        "model_instance_kind": spec.kind,
        "model_instance_name": spec.name,
        "model_instance_device_id": str(spec.device_id),
        "model_repository": str(context.model_directory),
        "model_version": str(context.version),
        "model_name": context.name,
    }
