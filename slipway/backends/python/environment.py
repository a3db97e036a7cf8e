"""The command line and the environment of the server's child processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = str(Path(__file__).parents[3])  # must be on sys.path for `import slipway`
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def child_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules in a child, without the working directory on its `sys.path`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(threads: int) -> dict[str, str]:
    """Return the server's environment, plus thread limits unless the user has set them."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), _ROOT]))
    for variable in _THREAD_VARIABLES:
        environment.setdefault(variable, str(threads))
    return environment
