"""How a server ends: the first signal asks for it, a second one or the end of the time ends the process at once.

Models, libraries and file systems may hang in any thread, and Python waits for threads when it exits. None of them
keeps the process. Only a blocked event loop, or a library that never releases the interpreter lock, is deaf to signals.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from threading import Thread, Timer
from typing import Final, NoReturn

_LOG: Final = logging.getLogger("slipway.server")
_REPEATED_S: Final = 0.5  # signals this close together are one: supervisors signal the process and its group
_MARGIN_S: Final = 5.0  # for what the server does by itself when its time is over
_LAST_WORDS_S: Final = 1.0  # standard error may be a pipe that nobody reads


class Stopping:
    """The end of one process. `seconds` is what it may take from the first signal on; `lost` counts the requests that
    would get no response if the process ended now."""

    def __init__(self, seconds: float, lost: Callable[[], int]) -> None:
        self.requested = asyncio.Event()
        self._seconds = seconds
        self._lost = lost
        self._first = 0.0
        self._limit: Timer | None = None
        self.last_words = ""  # for standard error, should `end_now` end the process

    def install(self) -> None:
        """Handle SIGTERM, SIGINT and, unless it is ignored as under `nohup`, SIGHUP in the running event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)

    def end(self) -> None:
        """Forget the limit: the server has ended, and the process goes on."""
        if self._limit is not None:
            self._limit.cancel()

    def _signalled(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.requested.is_set():
            self._first = now
            self.requested.set()
            late = f"the exit timeout of {self._seconds:g} s is over"
            self._limit = Timer(self._seconds + _MARGIN_S, self.end_now, [late])
            self._limit.daemon = True
            self._limit.start()
        elif now - self._first > _REPEATED_S:
            self.end_now(f"a second signal ({number.name})")

    def end_now(self, reason: str, lost: int | None = None) -> NoReturn:
        """Log the reason and the number of lost requests (None: count them now), and end the process with exit code 1,
        whatever hangs."""
        words = Thread(target=self._log, args=(reason, lost), daemon=True)
        words.start()
        words.join(_LAST_WORDS_S)
        os._exit(1)

    def _log(self, reason: str, lost: int | None) -> None:
        if lost is None:
            lost = self._lost()
        _LOG.error("%s: exiting at once, %d request%s lost", reason, lost, " is" if lost == 1 else "s are")
        logging.shutdown()
        if self.last_words:
            sys.stderr.write(self.last_words)
            sys.stderr.flush()
