"""The signals that end a command early: Ctrl-C, and SIGTERM if the command has something to clean up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Final

EXIT_CODES: Final = 128  # shells report this plus the signal's number for a command that a signal ended


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C raises KeyboardInterrupt, so that one handler cleans up after both."""


def raise_on_sigterm() -> None:
    """Raise Terminated in the main thread on SIGTERM from now on."""
    signal.signal(signal.SIGTERM, _terminate)


@contextmanager
def terminated_by_sigterm() -> Iterator[None]:
    """Raise Terminated in the main thread on SIGTERM in this block."""
    before = signal.getsignal(signal.SIGTERM)
    raise_on_sigterm()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ended_by_sigint() -> Iterator[None]:
    """Let Ctrl-C end the process at once in this block: libraries that are being imported turn KeyboardInterrupt into
    errors of their own. Use it only where there is nothing to clean up."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of a command that `interrupt` ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return EXIT_CODES + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise Terminated
