"""Who may load or unload which models now: sets of names, taken all at once, so that no two operations meet.

Taking a set only when all of it is free cannot deadlock, whatever depends on what.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Claims:
    """Names that operations hold; an operation whose names are taken waits for the other to end."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._released = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, names: frozenset[str]) -> AsyncIterator[None]:
        """Hold `names` for the length of the context."""
        async with self._released:
            await self._released.wait_for(lambda: self._held.isdisjoint(names))
            self._held |= names
        try:
            yield
        finally:
            self._held -= names
            async with self._released:
                self._released.notify_all()

    async def idle(self) -> None:
        """Return when no operation holds a name."""
        async with self._released:
            await self._released.wait_for(lambda: not self._held)
