"""The command line and the environment of the server's child processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from slipway.backends.python.environments.environment import ModelEnvironment

_ROOT: Final = str(Path(__file__).parents[3])  # must be on sys.path for `import slipway`
_PACKAGES: Final = ("site-packages", "dist-packages")
# An interpreter of another environment finds its own packages first, then those of the server.
_RUN: Final = "import sys; sys.path += {paths!r}; from {module} import main; main()"
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def child_command(module: str, *arguments: str, environment: ModelEnvironment | None = None) -> list[str]:
    """Return the command that runs one of our modules in a child, without the working directory on its `sys.path`.

    With an `environment`, its interpreter runs the module's `main`.
    """
    if environment is None:
        return [sys.executable, "-P", "-m", module, *arguments]
    installed = [path for path in sys.path if Path(path).name in _PACKAGES and path != _ROOT]
    run = _RUN.format(paths=[*installed, _ROOT], module=module)
    return [str(environment.python), "-P", "-c", run, *arguments]


def child_environment(threads: int, environment: ModelEnvironment | None = None) -> dict[str, str]:
    """Return the server's process environment, plus thread limits unless the user has set them, as it is inside the
    model's own `environment` if there is one."""
    variables = dict(os.environ)
    if environment is None:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), _ROOT]))
    else:
        variables = environment.variables(variables)
    for variable in _THREAD_VARIABLES:
        variables.setdefault(variable, str(threads))
    return variables
