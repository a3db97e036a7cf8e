"""What the copy of a remote repository needs of a storage service, and what the object stores have in common.

A driver wraps one file system of fsspec. Its coroutines run on fsspec's own event loop; they raise whatever the
libraries raise, which `storage.py` turns into our errors.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from slipway.config.remote_location import RemoteLocation
from slipway.repository.checksums import md5_of
from slipway.repository.remote.listing import RemoteObject

Result = TypeVar("Result")

MOST_OBJECTS: Final = 100_000  # of a repository
CONNECT_S: Final = 10.0
READ_S: Final = 30.0  # without a byte
CHANGED: Final = "it was changed while it was copied"


class Driver(Protocol):
    """One open connection to a storage service."""

    errors: tuple[type[Exception], ...]

    async def objects(self, folder: str) -> list[RemoteObject]:
        """Return everything in the repository, or in one folder of it; at most `MOST_OBJECTS` + 1."""

    async def fetch(self, each: RemoteObject, target: Path) -> None:
        """Write the content of an object to a new file."""

    async def fault(self, each: RemoteObject, target: Path) -> str:
        """Return why a fetched file of the right size is not the object that was listed, or ""."""

    async def close(self) -> None:
        """Close the connections."""


class DriverKind(Protocol):
    """A class of drivers; its module does not import the library that it needs."""

    def __call__(self, location: RemoteLocation, credentials: Any, /) -> Driver:
        """Return a driver with the credentials of its provider; connects when it is used."""

    def library_errors(self) -> tuple[type[Exception], ...]:
        """Return what the library raises, besides Python's own exceptions; raise ImportError if it is missing."""


class ObjectStore(ABC):
    """A driver for a store whose file system lists a whole prefix at once."""

    def __init__(self, location: RemoteLocation, files: Any) -> None:
        self.errors = self.library_errors()
        self.root = location.root
        self.files = files

    async def objects(self, folder: str) -> list[RemoteObject]:
        """Return the files and directories below `folder`."""
        path = f"{self.root}/{folder}" if folder else self.root
        found = await self.find(path)
        return list(self._described(found))

    async def find(self, path: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the entries below a path, by name."""
        entries: Mapping[str, Mapping[str, Any]] = await self.files._find(path, detail=True, withdirs=True)  # noqa: SLF001
        return entries

    def _described(self, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[RemoteObject]:
        base = f"{self.root}/"
        for name, entry in entries.items():
            path = name.removeprefix(base)
            if not name.startswith(base) or not path:
                continue
            if entry["type"] == "directory":
                yield RemoteObject(f"{path.rstrip('/')}/", name, 0)
            else:
                yield self.describe(path, name, entry)

    @abstractmethod
    async def close(self) -> None:
        """Close the connections: left to the collector, a library may do it on another event loop."""

    @staticmethod
    @abstractmethod
    def library_errors() -> tuple[type[Exception], ...]:
        """Return what the library raises, besides Python's own exceptions; raise ImportError if it is missing."""

    @abstractmethod
    def describe(self, path: str, key: str, entry: Mapping[str, Any]) -> RemoteObject:
        """Return the object of an entry that is not a directory."""

    @abstractmethod
    async def tag(self, each: RemoteObject) -> str:
        """Return the tag that the object has now."""

    async def fetch(self, each: RemoteObject, target: Path) -> None:
        """Write the content of an object to a new file, in one stream."""
        await self.files._get_file(each.key, str(target))  # noqa: SLF001  its synchronous form cannot be cancelled

    async def fault(self, each: RemoteObject, target: Path) -> str:
        """Compare the checksum, or, if the service lists none, the tag with that of the object as it is now."""
        if each.md5:
            digest = await asyncio.to_thread(md5_of, target)
            return "" if digest == each.md5 else "it does not have the MD5 checksum that is listed for it"
        return "" if await self.tag(each) == each.tag else CHANGED


async def together(steps: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return the results of coroutines; if one fails, cancel the others and raise its error."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def seconds_of(moment: object) -> int:
    """Return a library's time stamp as seconds since the epoch, 0 if there is none."""
    return int(moment.timestamp()) if isinstance(moment, datetime) else 0
