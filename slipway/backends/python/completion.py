"""Run the `auto_complete_config` of a Python model in a child process of its own.

The child reads the job from its standard input and writes the result to a file, so the model is free to print.
"""

from __future__ import annotations

import ast
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import Placement
from slipway.backends.python.environment import child_command, child_environment
from slipway.backends.python.environments.environment import ModelEnvironment, open_environment
from slipway.backends.python.placement import placement
from slipway.config.render import config_json
from slipway.errors import Code, SlipwayError, refused
from slipway.problems import Problem, Rule

_CHILD = "slipway.backends.python.completion_child"
_HOOK = "auto_complete_config"
LIMIT_SECONDS = 120  # importing a large library takes time; a hook that hangs must not block the server
# The fields that a model may set.
_FIELDS = ("input", "output", "max_batch_size", "dynamic_batching", "model_transaction_policy")


def complete_config(config: model_config_pb2.ModelConfig, model_file: Path, model_directory: Path) -> None:
    """Fill `config` with what the model's `auto_complete_config` sets; raise `SlipwayError` with its exception."""
    if not may_define_hook(model_file.read_bytes()):
        return
    job = {
        "config": config_json(config).decode(),
        "model_file": str(model_file),
        "model_directory": str(model_directory),
        "model_name": config.name or model_directory.name,
    }
    environment = open_environment(config, model_directory) if placement(config) is Placement.PROCESS else None
    try:
        completed = _run_child(json.dumps(job).encode(), job["model_name"], environment)
    finally:
        if environment is not None:
            environment.release()
    if "error" in completed:
        raise _failed(completed["error"])
    if completed["config"] is not None:
        _take_over(config, completed["config"])


def _failed(text: str) -> SlipwayError:
    fix = f"correct {_HOOK}, or declare inputs and outputs in config.pbtxt"
    return refused(Problem(Rule.COMPLETION_FAILED, text, fix=fix), code=Code.INTERNAL)


def may_define_hook(source: bytes) -> bool:
    """Return False if the model's class certainly lacks `auto_complete_config`, so that no process need be started."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # the child will report the error, in Triton's words
    except SystemError:
        # Before Python 3.12.2, two threads that parse disturb each other (python/cpython#106905). The source is fine.
        return True
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "TritonPythonModel" and not node.bases:
            return bool(node.decorator_list) or _HOOK.encode() in source
    return True


def _run_child(job: bytes, model_name: str, environment: ModelEnvironment | None) -> Any:
    with tempfile.TemporaryFile() as results:  # a pipe would block a child that writes more than the pipe can buffer
        process = subprocess.Popen(
            child_command(_CHILD, str(results.fileno()), environment=environment),
            stdin=subprocess.PIPE,
            pass_fds=(results.fileno(),),
            env=child_environment(1, environment),
        )
        with process:
            try:
                process.communicate(job, timeout=LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise _failed(
                    f"{_HOOK} of model '{model_name}' did not return within {LIMIT_SECONDS} s and was killed"
                ) from None
        results.seek(0)
        result = results.read()
    if not result:
        raise _failed(
            f"Failed to initialize Python stub for auto-complete: the process exited with code {process.returncode}"
        )
    return json.loads(result)


def _take_over(config: model_config_pb2.ModelConfig, completed: dict[str, Any]) -> None:
    chosen = {field: completed[field] for field in _FIELDS if field in completed}
    try:
        parsed = json_format.ParseDict(chosen, model_config_pb2.ModelConfig())
    except json_format.ParseError as error:
        raise _failed(f"{_HOOK} of model '{config.name}': {error}") from error
    for field in _FIELDS:
        config.ClearField(field)
    config.MergeFrom(parsed)
