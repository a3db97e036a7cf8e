"""Google Cloud Storage, through gcsfs."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.config.cloud_credentials import GoogleCredentials
from slipway.config.remote_location import RemoteLocation
from slipway.repository.remote.driver import CONNECT_S, READ_S, ObjectStore, seconds_of
from slipway.repository.remote.listing import RemoteObject


class GoogleStore(ObjectStore):
    """A bucket. `STORAGE_EMULATOR_HOST` names another server, as for Google's own libraries."""

    def __init__(self, location: RemoteLocation, credentials: GoogleCredentials) -> None:
        import aiohttp
        from gcsfs.core import GCSFileSystem

        super().__init__(
            location,
            GCSFileSystem(
                token=credentials.path or None,
                access="read_only",
                requests_timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S),
                use_listings_cache=False,
                skip_instance_cache=True,
            ),
        )

    @staticmethod
    def library_errors() -> tuple[type[Exception], ...]:
        """Return what the libraries raise, besides Python's own exceptions; raise ImportError if one is missing."""
        import aiohttp
        from gcsfs.retry import ChecksumError, HttpError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        return HttpError, ChecksumError, GoogleAuthError, RequestException, aiohttp.ClientError

    def describe(self, path: str, key: str, entry: Mapping[str, Any]) -> RemoteObject:
        """Return the object of an entry; composite objects have a CRC-32C only."""
        return RemoteObject(
            path,
            key,
            int(entry["size"]),
            seconds_of(entry.get("mtime")),
            tag=str(entry.get("generation", "")),
            md5=b64decode(entry.get("md5Hash", ""), validate=True),
            crc32c=b64decode(entry.get("crc32c", ""), validate=True),
        )

    async def tag(self, each: RemoteObject) -> str:
        """Return the generation that the object has now."""
        return str((await self.files._info(each.key)).get("generation", ""))  # noqa: SLF001

    async def fetch(self, each: RemoteObject, target: Path) -> None:
        """Write the content of an object to a new file, in one stream: parts would each be held in memory."""
        await self.files._get_file(each.key, str(target), concurrency=1)  # noqa: SLF001

    async def close(self) -> None:
        """Close the connections."""
        if self.files.session is not None:
            await self.files.session.close()

    async def fault(self, each: RemoteObject, target: Path) -> str:
        """Compare the MD5 checksum, else the CRC-32C, else the generation."""
        if each.crc32c and not each.md5:
            digest = await asyncio.to_thread(_crc32c_of, target)
            return "" if digest == each.crc32c else "it does not have the CRC-32C that is listed for it"
        return await super().fault(each, target)


def _crc32c_of(path: Path) -> bytes:
    import google_crc32c  # a requirement of gcsfs

    with path.open("rb") as file:
        checksum = google_crc32c.Checksum()
        for _ in checksum.consume(file, 1 << 20):
            pass
    digest: bytes = checksum.digest()
    return digest
