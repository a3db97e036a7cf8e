"""What `slipway serve` adds to the server: it prints the last lines, and swaps in faster forms."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress
from typing import Final

from slipway.cli.sources.announcing import announcement, bound_addresses
from slipway.cli.sources.preparing import PreparedSources
from slipway.cli.sources.swapping import Swaps
from slipway.server import Started

_LOG: Final = logging.getLogger("slipway.cli")


class Launch:
    """Implements `server.Companion`."""

    def __init__(self, prepared: PreparedSources) -> None:
        self._prepared = prepared
        self._swaps = Swaps(prepared.faster)
        self._swapping: asyncio.Task[None] | None = None

    def begin(self, started: Started) -> None:
        """Print the last lines, and begin with the first faster form."""
        options = self._prepared.options
        if options.log_info and options.log_format != "json":  # else the output is read by a program
            followed = {form.request.name for form in self._prepared.faster}
            addresses = bound_addresses(options, started.ports)
            _print(announcement(started.engine, options, addresses, self._prepared.converted, followed=followed))
        if self._prepared.faster:
            self._swapping = asyncio.get_running_loop().create_task(self._swaps.run(started.engine))
            self._swapping.add_done_callback(_report)

    async def end(self) -> None:
        """End the conversion that runs in the background."""
        if self._swapping is not None:
            self._swapping.cancel()
            await asyncio.wait([self._swapping])
        self._swaps.release()


def _print(text: str) -> None:
    """Print to standard output, which may be closed, or a pipe that nobody reads any more."""
    if sys.stdout is not None:
        with suppress(OSError, ValueError):
            print(text, flush=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("the conversion in the background ended unexpectedly", exc_info=error)
