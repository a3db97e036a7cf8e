"""`auto_complete_config` of a Python model, run in a child process of its own.

The child reads the job from its standard input and answers in a file, so the model may print as it likes.
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

from slipway.backends.python.environment import child_command, child_environment
from slipway.config.render import config_json
from slipway.errors import Code, SlipwayError, refused
from slipway.problems import Problem, Rule

_HOOK = "auto_complete_config"
LIMIT_SECONDS = 120  # importing a large library takes a while; a hook that hangs must not hang the server
_FIELDS = ("input", "output", "max_batch_size", "dynamic_batching", "model_transaction_policy")  # all a model may set


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
    completed = _run_child(json.dumps(job).encode(), job["model_name"])
    if "error" in completed:
        raise _failed(completed["error"])
    if completed["config"] is not None:
        _take_over(config, completed["config"])


def _failed(text: str) -> SlipwayError:
    fix = f"correct {_HOOK}, or declare inputs and outputs in config.pbtxt"
    return refused(Problem(Rule.COMPLETION_FAILED, text, fix=fix), code=Code.INTERNAL)


def may_define_hook(source: bytes) -> bool:
    """Return False when the model's class certainly has no `auto_complete_config`: then no process need be started."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # the child will say what is wrong, in Triton's words
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "TritonPythonModel" and not node.bases:
            return bool(node.decorator_list) or _HOOK.encode() in source
    return True


def _run_child(job: bytes, model_name: str) -> Any:
    with tempfile.TemporaryFile() as results:  # a pipe would block a child with more to say than it holds
        process = subprocess.Popen(
            child_command("slipway.backends.python.completion_child", str(results.fileno())),
            stdin=subprocess.PIPE,
            pass_fds=(results.fileno(),),
            env=child_environment(threads=1),
        )
        with process:
            try:
                process.communicate(job, timeout=LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise _failed(
                    f"{_HOOK} of model '{model_name}' did not return within {LIMIT_SECONDS} s and was ended"
                ) from None
        results.seek(0)
        result = results.read()
    if not result:
        raise _failed(
            f"Failed to initialize Python stub for auto-complete: the process ended with {process.returncode}"
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
