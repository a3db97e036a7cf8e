"""Azure Blob Storage, through adlfs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from slipway.config.cloud_credentials import AzureCredentials
from slipway.config.remote_location import RemoteLocation
from slipway.repository.remote.driver import CONNECT_S, MOST_OBJECTS, READ_S, ObjectStore, seconds_of
from slipway.repository.remote.listing import RemoteObject

_PARTS: Final = 4  # of one file at a time; each has at most 4 MiB


class AzureStore(ObjectStore):
    """A container."""

    def __init__(self, location: RemoteLocation, credentials: AzureCredentials) -> None:
        from adlfs import AzureBlobFileSystem

        self._identity = identity = _identity(credentials)
        super().__init__(
            location,
            AzureBlobFileSystem(
                account_name=credentials.account_str or location.account,
                account_key=credentials.account_key or None,
                connection_string=credentials.connection_string or None,
                credential=identity,
                anon=identity is None and not credentials.account_key and not credentials.connection_string,
                connection_timeout=int(CONNECT_S),
                read_timeout=int(READ_S),
                max_concurrency=_PARTS,
                use_listings_cache=False,
                skip_instance_cache=True,
            ),
        )

    @staticmethod
    def library_errors() -> tuple[type[Exception], ...]:
        """Return what the libraries raise, besides Python's own exceptions; raise ImportError if one is missing."""
        from adlfs import AzureBlobFileSystem  # noqa: F401  all are needed
        from aiohttp import ClientError
        from azure.core.exceptions import AzureError

        return AzureError, ClientError

    async def objects(self, folder: str) -> list[RemoteObject]:
        """Return the blobs below `folder`; adlfs would cut the slash off those that stand for directories."""
        container, _, base = self.root.partition("/")
        base = f"{base}/" if base else ""
        start = f"{base}{folder}/" if folder else base
        found: list[RemoteObject] = []
        async with self.files.service_client.get_container_client(container) as client:
            async for blob in client.list_blobs(name_starts_with=start or None, include=["metadata"]):
                path = blob.name.removeprefix(base)
                if path:
                    found.append(self.describe(path, f"{container}/{blob.name}", blob))
                if len(found) > MOST_OBJECTS:
                    break
        return found

    def describe(self, path: str, key: str, entry: Mapping[str, Any]) -> RemoteObject:
        """Return the object of a blob. Those that were uploaded in blocks may lack an MD5 checksum; stores with real
        directories mark them in the metadata."""
        if ((entry.get("metadata") or {}).get("hdi_isfolder") or "").lower() == "true":
            return RemoteObject(f"{path.rstrip('/')}/", key, 0)
        md5 = getattr(entry.get("content_settings"), "content_md5", None) or b""
        tag = str(entry.get("etag", "")).strip('"')
        return RemoteObject(path, key, int(entry["size"]), seconds_of(entry.get("last_modified")), tag, bytes(md5))

    async def tag(self, each: RemoteObject) -> str:
        """Return the ETag that the blob has now."""
        return str((await self.files._info(each.key, refresh=True)).get("etag", "")).strip('"')  # noqa: SLF001

    async def close(self) -> None:
        """Close the connections."""
        await self.files.service_client.close()
        if self._identity is not None:
            await self._identity.close()

    async def fetch(self, each: RemoteObject, target: Path) -> None:
        """Write the content of a blob to a new file."""
        await self.files._get_file(each.key, str(target))  # noqa: SLF001


def _identity(credentials: AzureCredentials) -> Any:
    """Return the credential that Azure's own library finds on this machine, if the credentials say so."""
    if credentials.auth_type == "managed_identity":
        from azure.identity.aio import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=credentials.client_id or None)
    if credentials.auth_type == "default":
        from azure.identity.aio import DefaultAzureCredential

        return DefaultAzureCredential()
    return None
