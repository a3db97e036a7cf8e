"""Child processes that handle signals as if they were started at a terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt the child processes that are started in the block.

    A shell without job control starts background jobs with SIGINT ignored; every process inherits that, and Python then
    installs no handler of its own.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
