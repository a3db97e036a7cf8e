"""Keep a command's own output apart from what user code and native libraries print.

Python models run in child processes that inherit standard output, and C++ libraries write to it at will; a command
that prints one document must be the only writer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_STDOUT: Final = 1
_STDERR: Final = 2


@contextmanager
def others_on_stderr() -> Iterator[None]:
    """Redirect what this process and its children write to standard output inside the block to standard error."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, _STDOUT)
        os.close(kept)
