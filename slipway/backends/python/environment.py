"""How child processes of this server are started: the command line and the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = str(Path(__file__).parents[3])  # what `import slipway` needs on sys.path
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def child_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules in a child; the working directory is not on its `sys.path`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(threads: int) -> dict[str, str]:
    """Return the server's environment, with thread limits where the user has set none."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), _ROOT]))
    for variable in _THREAD_VARIABLES:
        environment.setdefault(variable, str(threads))
    return environment
