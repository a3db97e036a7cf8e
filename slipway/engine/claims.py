"""Locks on the models that an operation loads or unloads, so that no two operations work on the same model.

A set of names is taken only when all of it is free, so operations cannot deadlock, regardless of dependencies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Claims:
    """The names that operations hold; an operation waits until all its names are free."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._released = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, names: frozenset[str]) -> AsyncIterator[None]:
        """Hold `names` until the context exits."""
        async with self._released:
            await self._released.wait_for(lambda: self._held.isdisjoint(names))
            self._held |= names
        try:
            yield
        finally:
            self._held -= names
            async with self._released:
                self._released.notify_all()

    @property
    def held(self) -> bool:
        """Whether an operation holds a name."""
        return bool(self._held)

    async def idle(self) -> None:
        """Wait until no operation holds a name."""
        async with self._released:
            await self._released.wait_for(lambda: not self._held)
