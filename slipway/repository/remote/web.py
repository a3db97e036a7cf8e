"""Web servers that list their directories, through fsspec's HTTP file system.

HTTP does not define how a directory is listed, so a repository can be anywhere where the server writes a page of links
for each directory (`pages.py`), and reports the size of each file.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from slipway.config.cloud_credentials import NoCredentials
from slipway.config.remote_location import RemoteLocation
from slipway.repository.checksums import md5_of
from slipway.repository.remote.driver import CHANGED, CONNECT_S, MOST_OBJECTS, READ_S, together
from slipway.repository.remote.listing import RemoteObject
from slipway.repository.remote.pages import listed_names

_LARGEST_PAGE: Final = 8 << 20  # bytes
_DEEPEST: Final = 16  # directories: a link to a parent directory would never end
_AT_ONCE: Final = 8  # requests
_PLAIN: Final = {"Accept-Encoding": "identity"}  # sizes are those of the files


class WebServer:
    """A directory of a web server."""

    def __init__(self, location: RemoteLocation, _credentials: NoCredentials) -> None:
        import aiohttp
        from fsspec.implementations.http import HTTPFileSystem

        self.errors = self.library_errors()
        self._root = location.root
        self._files = HTTPFileSystem(
            client_kwargs={
                "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S),
                "headers": _PLAIN,
                "trust_env": True,  # proxies, ~/.netrc
            },
            encoded=True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    @staticmethod
    def library_errors() -> tuple[type[Exception], ...]:
        """Return what the libraries raise, besides Python's own exceptions; raise ImportError if one is missing."""
        import aiohttp
        from fsspec.implementations.http import HTTPFileSystem  # noqa: F401  both are needed

        return (aiohttp.ClientError,)

    async def objects(self, folder: str) -> list[RemoteObject]:
        """Return the files and directories below `folder`, one level after the other."""
        level = {"": f"{self._root}/"}
        if folder:
            names = await self._page(level[""], asyncio.Semaphore())
            level = {name: url for name, url in names.items() if name == f"{folder}/"}
        found: list[RemoteObject] = []
        places = asyncio.Semaphore(_AT_ONCE)
        for _ in range(_DEEPEST):
            pages = await together(self._page(url, places) for url in level.values())
            entries = {
                parent + name: target
                for parent, names in zip(level, pages, strict=True)
                for name, target in names.items()
            }
            level = {path: url for path, url in entries.items() if path.endswith("/")}
            found.extend(RemoteObject(path, url, 0) for path, url in level.items())
            files = {path: url for path, url in entries.items() if not path.endswith("/")}
            if len(found) + len(files) > MOST_OBJECTS or not entries:
                return [*found, *(RemoteObject(path, url, 0) for path, url in files.items())]
            found.extend(await together(self._described(path, url, places) for path, url in files.items()))
        raise ValueError(f"its directories are nested more than {_DEEPEST} levels deep")

    async def fetch(self, each: RemoteObject, target: Path) -> None:
        """Write the content of a file to a new file."""
        await self._files._get_file(each.key, str(target), chunk_size=1 << 18)  # noqa: SLF001  see driver.py

    async def fault(self, each: RemoteObject, target: Path) -> str:
        """Compare the checksum, if the server reports one, else what the server reports of the file now."""
        if each.md5:
            digest = await asyncio.to_thread(md5_of, target)
            return "" if digest == each.md5 else "it does not have the MD5 checksum that the server reports"
        now = await self._described(each.path, each.key, asyncio.Semaphore())
        return "" if now == each else CHANGED

    async def close(self) -> None:
        """Close the connections."""
        await (await self._session()).close()

    async def _page(self, url: str, places: asyncio.Semaphore) -> Mapping[str, str]:
        async with places, (await self._session()).get(self._files.encode_url(url)) as response:
            response.raise_for_status()
            if response.content_type != "text/html":
                raise ValueError(f"'{url}' is not a page that lists a directory")
            content = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                content += piece
                if len(content) > _LARGEST_PAGE:
                    raise ValueError(f"the page at '{url}' has more than {_LARGEST_PAGE >> 20} MiB")
        return listed_names(content.decode(errors="surrogateescape"), url)

    async def _described(self, path: str, url: str, places: asyncio.Semaphore) -> RemoteObject:
        """Return a file as its server describes it, or with what is wrong, which costs only its model."""
        from aiohttp import ClientError

        try:
            return await self._head(path, url, places)
        except (ClientError, TimeoutError, ValueError) as error:
            return RemoteObject(path, url, 0, fault=str(error) or type(error).__name__)

    async def _head(self, path: str, url: str, places: asyncio.Semaphore) -> RemoteObject:
        target = self._files.encode_url(url)
        async with places, (await self._session()).head(target, allow_redirects=True) as response:
            response.raise_for_status()
            headers = response.headers
            size = int(headers.get("Content-Length", "-1"))
            modified = headers.get("Last-Modified", "")
            seconds = int(parsedate_to_datetime(modified).timestamp()) if modified else 0
            md5 = b64decode(headers.get("Content-MD5", ""), validate=True)
            return RemoteObject(path, url, size, seconds, headers.get("ETag", "").removeprefix("W/").strip('"'), md5)

    async def _session(self) -> Any:
        return await self._files.set_session()
