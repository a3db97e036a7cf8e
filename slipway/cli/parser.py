"""argparse with this project's exit code: wrong usage is 1, as in tritonserver, not 2."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on standard error and exit code 1."""

    def error(self, message: str) -> NoReturn:
        """Print `message` with a pointer to --help and exit."""
        print(f"error: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(1)
