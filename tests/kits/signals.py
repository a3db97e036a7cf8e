"""Child processes that receive signals as one that a person started at a terminal does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt the child processes that the block starts.

    A shell without job control starts background jobs with SIGINT ignored; every process inherits that, and Python then
    installs no handler of its own.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
