"""Child processes that handle signals as if they were started at a terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Let the signal interrupt the child processes that are started in the block.

    A shell without job control starts background jobs with SIGINT ignored, and `nohup` starts its command with SIGHUP
    ignored; every process inherits that, and Python then installs no handler of its own.
    """
    handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
