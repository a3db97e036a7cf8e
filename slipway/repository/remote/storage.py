"""Lists and fetches the objects of a remote repository, from any thread: with limits on time, and with our errors.

The libraries run on fsspec's event loop. After a failure the credentials are read again, and used if they changed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any, Final, TypeVar

from slipway.config.cloud_credentials import (
    AzureCredentials,
    Credentials,
    GoogleCredentials,
    S3Credentials,
    read_credentials,
)
from slipway.config.remote_location import RemoteLocation
from slipway.errors import shown, unavailable
from slipway.installation import install_hint
from slipway.repository.remote.driver import MOST_OBJECTS, Driver, DriverKind, together
from slipway.repository.remote.listing import RemoteObject

Result = TypeVar("Result")

LIST_S: Final = 120.0
STALL_S: Final = 60.0  # a file that does not grow
_CLOSE_S: Final = 2.0
_LOOK_S: Final = 1.0  # between two looks at a growing file
_AT_ONCE: Final = 8  # files of one model
# What an answer that is not as its protocol says makes the libraries raise, besides their own errors. Time-outs are
# OSErrors, and so are most failures of the network.
_MALFORMED: Final[tuple[type[Exception], ...]] = (OSError, ValueError, LookupError, TypeError, AttributeError)
# Their lines could show URLs and credentials; what matters is in the errors raised here.
_LOGGERS: Final = "s3fs gcsfs adlfs fsspec botocore aiobotocore aiohttp azure google msal urllib3 requests".split()
_STOPPING: Final = "Server is stopping"
_NUMBER: Final = re.compile(r"^\[Errno \d+\] ")
_VARYING: Final = re.compile(r" RequestId:.*")  # of Azure: an error that lasts is to be logged once
_SIGNED: Final = re.compile(r"(https?://[^\s'\"?]+)\?[^\s'\"]*")


class Storage:
    """The objects of one location."""

    def __init__(self, location: RemoteLocation) -> None:
        self.location = location
        self._driver: Driver | None = None
        self._credentials: Credentials | None = None  # of the driver
        self._has_failed = False
        self._opening = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._is_cancelled = False

    def objects(self, folder: str = "") -> list[RemoteObject]:
        """Return everything in the repository, or in one of its folders; raise UNAVAILABLE if it cannot be listed."""

        async def listed(driver: Driver) -> list[RemoteObject]:
            async with asyncio.timeout(LIST_S):
                return await driver.objects(folder)

        found = self._run(listed, f"listing {self.location.text}")
        if len(found) > MOST_OBJECTS:
            raise unavailable(f"{self.location.text} has more than {MOST_OBJECTS} objects")
        return found

    def fetch(self, wanted: Sequence[tuple[RemoteObject, Path]]) -> None:
        """Write objects to new files, and check each; raise UNAVAILABLE at the first that fails."""

        async def fetched(driver: Driver) -> None:
            places = asyncio.Semaphore(_AT_ONCE)
            await together(self._fetch(driver, each, target, places) for each, target in wanted)

        self._run(fetched, f"copying from {self.location.text}")

    def cancel(self) -> None:
        """End what is under way, and refuse to begin anything else."""
        self._is_cancelled = True
        for future in list(self._running):
            future.cancel()

    def close(self) -> None:
        """Close the connections."""
        driver, self._driver = self._driver, None
        if driver is not None:
            _close(driver)

    async def _fetch(self, driver: Driver, each: RemoteObject, target: Path, places: asyncio.Semaphore) -> None:
        async with places:
            transfer = asyncio.ensure_future(driver.fetch(each, target))
            try:
                await _watch(transfer, each, target)
                size = _size_of(target)
                if size != each.size:
                    raise unavailable(f"'{shown(each.path)}' has {size} bytes, but {each.size} are listed for it")
                fault = await driver.fault(each, target)
            except _MALFORMED + driver.errors as error:
                raise unavailable(f"copying '{shown(each.path)}': {self._redacted(error)}") from error
            finally:
                transfer.cancel()
                await asyncio.wait((transfer,))
            if fault:
                raise unavailable(f"'{shown(each.path)}' cannot be used: {fault}")

    # Running the libraries

    def _run(self, step: Callable[[Driver], Coroutine[Any, Any, Result]], doing: str) -> Result:
        """Return the result of `step(driver)`; raise UNAVAILABLE if it fails."""
        if self._is_cancelled:
            raise unavailable(_STOPPING)
        driver = self._open()
        from fsspec.asyn import get_loop  # opening has reported a package that is not installed

        future = asyncio.run_coroutine_threadsafe(step(driver), get_loop())
        self._running.add(future)
        if self._is_cancelled:  # meanwhile
            future.cancel()
        is_over = False
        try:
            result = future.result()
            is_over = True
        except CancelledError:
            raise unavailable(_STOPPING) from None
        except _MALFORMED + driver.errors as error:
            raise unavailable(f"{doing}: {self._redacted(error)}") from error
        finally:
            self._running.discard(future)
            self._has_failed |= not is_over
        return result

    def _open(self) -> Driver:
        with self._opening:
            if self._driver is not None and not self._has_failed:
                return self._driver
            credentials = read_credentials(self.location)
            if self._driver is None or credentials != self._credentials:
                if self._driver is not None and not self._running:
                    _close(self._driver)
                self._credentials = credentials
                self._driver = self._connect(credentials)
            self._has_failed = False
            return self._driver

    def _connect(self, credentials: Credentials) -> Driver:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            kind = _kind(credentials)
            errors = kind.library_errors()
        except ImportError as error:
            package = (error.name or "fsspec").partition(".")[0]
            raise unavailable(
                f"{self.location.scheme}:// repositories need the package '{package}': {install_hint('cloud')}"
            ) from None
        try:
            return kind(self.location, credentials)
        except _MALFORMED + errors as error:
            raise unavailable(f"connecting to {self.location.text}: {self._redacted(error)}") from error

    def _redacted(self, error: BaseException) -> str:
        """Return an error's text without credentials and without the queries of URLs, which may be signed."""
        text = " ".join((str(error) or type(error).__name__).split())
        text = _VARYING.sub("", _NUMBER.sub("", text))
        for secret in self._credentials.secrets if self._credentials is not None else ():
            text = text.replace(secret, "***") if secret else text
        return shown(_SIGNED.sub(r"\1?***", text))


async def _watch(transfer: asyncio.Future[None], each: RemoteObject, target: Path) -> None:
    """Wait for the end of a transfer, and raise its error; raise UNAVAILABLE if it stalls or writes too much."""
    loop = asyncio.get_running_loop()
    size, since = -1, loop.time()
    while not (await asyncio.wait((transfer,), timeout=_LOOK_S))[0]:
        now = _size_of(target)
        if now > each.size:
            raise unavailable(f"'{shown(each.path)}' has more than the {each.size} bytes that are listed for it")
        if now != size:
            size, since = now, loop.time()
        elif loop.time() - since > STALL_S:
            raise unavailable(f"'{shown(each.path)}': no data for {STALL_S:g} s")
    transfer.result()


def _close(driver: Driver) -> None:
    """Close the connections of a driver, which nothing else uses, and wait for it a little."""
    from fsspec.asyn import get_loop

    future = asyncio.run_coroutine_threadsafe(driver.close(), get_loop())
    wait((future,), timeout=_CLOSE_S)


def _size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _kind(credentials: Credentials) -> DriverKind:
    match credentials:
        case S3Credentials():
            from slipway.repository.remote.s3 import S3Store

            return S3Store
        case GoogleCredentials():
            from slipway.repository.remote.google import GoogleStore

            return GoogleStore
        case AzureCredentials():
            from slipway.repository.remote.azure import AzureStore

            return AzureStore
    from slipway.repository.remote.web import WebServer

    return WebServer
