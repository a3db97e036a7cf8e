"""Amazon S3 and the services that speak its protocol, through s3fs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from slipway.config.cloud_credentials import S3Credentials
from slipway.config.remote_location import RemoteLocation
from slipway.repository.checksums import md5_of
from slipway.repository.remote.driver import CHANGED, CONNECT_S, MOST_OBJECTS, READ_S, ObjectStore, seconds_of
from slipway.repository.remote.listing import RemoteObject

_MD5: Final = re.compile("[0-9a-f]{32}")
_ATTEMPTS: Final = 3


class S3Store(ObjectStore):
    """A bucket."""

    def __init__(self, location: RemoteLocation, credentials: S3Credentials) -> None:
        from s3fs import S3FileSystem

        has_key = bool(credentials.key_id and credentials.secret_key)
        profile = "" if has_key else credentials.profile
        super().__init__(
            location,
            S3FileSystem(
                key=credentials.key_id if has_key else None,
                secret=credentials.secret_key if has_key else None,
                token=(credentials.session_token or None) if has_key else None,
                anon=not has_key and not _has_credentials(profile),
                endpoint_url=location.endpoint or None,
                client_kwargs={"region_name": credentials.region} if credentials.region else {},
                config_kwargs={
                    "connect_timeout": CONNECT_S,
                    "read_timeout": READ_S,
                    "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                    "s3": {"addressing_style": "path"} if location.endpoint else {},
                },
                use_listings_cache=False,
                skip_instance_cache=True,  # it would keep the credentials
                **({"profile": profile} if profile else {}),
            ),
        )
        self.files.retries = _ATTEMPTS

    @staticmethod
    def library_errors() -> tuple[type[Exception], ...]:
        """Return what the libraries raise, besides Python's own exceptions; raise ImportError if one is missing."""
        from aiohttp import ClientError as TransferError
        from botocore.exceptions import BotoCoreError, ClientError
        from s3fs import S3FileSystem  # noqa: F401  all are needed

        return BotoCoreError, ClientError, TransferError

    async def find(self, path: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the entries below a path, not more than a repository may have."""
        entries: Mapping[str, Mapping[str, Any]] = await self.files._find(  # noqa: SLF001
            path, detail=True, withdirs=True, max_items=MOST_OBJECTS + 1
        )
        return entries

    def describe(self, path: str, key: str, entry: Mapping[str, Any]) -> RemoteObject:
        """Return the object of an entry. Its ETag is not a checksum in every case, see `fault`."""
        tag = str(entry.get("ETag", "")).strip('"')
        return RemoteObject(path, key, int(entry["size"]), seconds_of(entry.get("LastModified")), tag)

    async def tag(self, each: RemoteObject) -> str:
        """Return the ETag that the object has now."""
        return str((await self._head(each)).get("ETag", "")).strip('"')

    async def fetch(self, each: RemoteObject, target: Path) -> None:
        """Write the content of an object to a new file, in one stream: parts would each be held in memory."""
        await self.files._get_file(each.key, str(target), max_concurrency=1)  # noqa: SLF001

    async def fault(self, each: RemoteObject, target: Path) -> str:
        """Compare the ETag with the MD5 digest. It is another digest for objects that were uploaded in parts or are
        encrypted with a key of their own; those must still have the same ETag (S3 User Guide, "Checking object
        integrity")."""
        if not _MD5.fullmatch(each.tag):
            return await super().fault(each, target)
        if (await asyncio.to_thread(md5_of, target)).hex() == each.tag:
            return ""
        head = await self._head(each)
        if str(head.get("ETag", "")).strip('"') != each.tag:
            return CHANGED
        if str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or head.get("SSECustomerAlgorithm"):
            return ""
        return "it does not have the MD5 checksum that is listed for it"

    async def close(self) -> None:
        """Close the connections."""
        if self.files._s3 is not None:  # noqa: SLF001
            await self.files._s3creator.__aexit__(None, None, None)  # noqa: SLF001

    async def _head(self, each: RemoteObject) -> Mapping[str, Any]:
        bucket, _, key = each.key.partition("/")
        answer: Mapping[str, Any] = await self.files._call_s3("head_object", Bucket=bucket, Key=key)  # noqa: SLF001
        return answer


def _has_credentials(profile: str) -> bool:
    """Return whether Amazon's library finds credentials on this machine: without any, requests are anonymous."""
    from botocore.session import Session

    return Session(profile=profile or None).get_credentials() is not None
