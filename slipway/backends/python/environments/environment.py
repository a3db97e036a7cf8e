"""EXECUTION_ENV_PATH: the parameter that has a model run in a Python environment of its own.

The environment's interpreter runs the child process. Its packages come first; what the child itself needs and the
environment lacks comes from the server's packages, which is why both must have the same version of Python, as in
Triton. As there, no activation script is run: what one sets (PATH, LD_LIBRARY_PATH, VIRTUAL_ENV) is set here.
Source: python_backend README.md ("Packaging the Conda Environment"), `pb_env.cc`, `stub_launcher.cc`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.python.environments.store import EnvironmentStore, UnpackedEnvironment, default_directory
from slipway.backends.python.environments.unpacking import UnsafeArchiveError
from slipway.errors import Code, SlipwayError, refused
from slipway.problems import Named, Problem, Rule

PARAMETER: Final = "EXECUTION_ENV_PATH"
MODEL_DIRECTORY: Final = "$$TRITON_MODEL_DIRECTORY"
_INTERPRETERS: Final = ("python3", "python")
_ASK_VERSION: Final = "import sys; print('%d.%d' % sys.version_info[:2])"
_START_SECONDS: Final = 60
_SHOWN: Final = 500  # characters of what a failing interpreter wrote


@dataclass(frozen=True, slots=True)
class ModelEnvironment:
    """An environment that a model runs in: its directory and its interpreter."""

    directory: Path
    python: Path
    unpacked: UnpackedEnvironment | None = field(default=None, repr=False)

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the process environment inside: `inherited`, as an activation changes it."""
        changed = {name: value for name, value in inherited.items() if name != "PYTHONHOME"}
        changed["VIRTUAL_ENV"] = str(self.directory)
        for name, below in (("PATH", "bin"), ("LD_LIBRARY_PATH", "lib")):
            changed[name] = os.pathsep.join(filter(None, [str(self.directory / below), inherited.get(name)]))
        return changed

    def release(self) -> None:
        """Let go of the unpacked archive, if it was one; the model's processes have ended."""
        if self.unpacked is not None:
            self.unpacked.release()


def environment_path(config: model_config_pb2.ModelConfig) -> str:
    """Return the parameter as it is written, "" if the model does not have one."""
    return config.parameters[PARAMETER].string_value if PARAMETER in config.parameters else ""


def locate(written: str, model_directory: Path) -> Path:
    """Return the archive or directory that `written` names; raise `SlipwayError` if there is none."""
    path = Path(written.replace(MODEL_DIRECTORY, str(model_directory)))
    try:
        resolved = path.resolve(strict=True)
    except (OSError, ValueError):
        raise _problem(f"Failed to get the canonical path for {written}.", Rule.FILE_MISSING) from None
    if MODEL_DIRECTORY in written and not Path(os.path.normpath(path)).is_relative_to(model_directory):
        raise _problem(f"{PARAMETER} '{written}' leads out of the model's directory", Rule.FILE_OUTSIDE)
    return resolved


def open_environment(
    config: model_config_pb2.ModelConfig, model_directory: Path, store: EnvironmentStore | None = None
) -> ModelEnvironment | None:
    """Return the model's environment, unpacked and tried; None if it has none. Raise `SlipwayError`. Blocks."""
    written = environment_path(config)
    if not written:
        return None
    path = locate(written, model_directory)
    if path.is_dir():
        return _tried(written, path, None)
    try:
        unpacked = (store or EnvironmentStore(default_directory())).unpacked(path)
    except UnsafeArchiveError as error:
        raise _problem(f"{PARAMETER} '{written}' is not usable: {error}") from error
    except OSError as error:
        raise _problem(f"{PARAMETER} '{written}' cannot be unpacked: {error.strerror or error}") from error
    try:
        return _tried(written, unpacked.directory, unpacked)
    except SlipwayError:
        unpacked.release()
        raise


def _tried(written: str, directory: Path, unpacked: UnpackedEnvironment | None) -> ModelEnvironment:
    """Return the environment after its interpreter has run once, and has the server's version."""
    if not (directory / "bin" / "activate").is_file():
        raise _problem(
            f"Path {written}/bin/activate does not exist. The Python environment should contain an 'activate' script.",
            Rule.FILE_MISSING,
        )
    candidates = [directory / "bin" / name for name in _INTERPRETERS]
    python = next((path for path in candidates if os.access(path, os.X_OK)), None)
    if python is None:
        links = [f"; bin/{path.name} leads to {path.readlink()}" for path in candidates if path.is_symlink()]
        raise _problem(f"{PARAMETER} '{written}' has no bin/python that can be run{''.join(links[:1])}")
    environment = ModelEnvironment(directory, python, unpacked)
    version, own = _version(written, environment), f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version != own:
        raise _problem(f"{PARAMETER} '{written}' has Python {version}, but the server runs on Python {own}")
    return environment


def _version(written: str, environment: ModelEnvironment) -> str:
    variables = environment.variables(os.environ)
    try:
        asked = subprocess.run(
            [environment.python, "-I", "-c", _ASK_VERSION],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise _problem(f"the Python of {PARAMETER} '{written}' did not start in {_START_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-_SHOWN:]
        raise _problem(f"the Python of {PARAMETER} '{written}' does not start: {said or error}") from None
    except OSError as error:
        raise _problem(f"the Python of {PARAMETER} '{written}' does not start: {error.strerror}") from error
    return asked.stdout.decode(errors="replace").strip()


def _problem(text: str, rule: Rule = Rule.PARAMETER_INVALID) -> SlipwayError:
    path = ("parameters", Named(PARAMETER, "key"), "value")
    fix = "point it to a directory, or to an archive of conda-pack or venv-pack, with the server's version of Python"
    return refused(Problem(rule, text, path, fix), code=Code.INTERNAL)
