"""Well-framed HTTP requests on fresh connections, and their responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httptools

from slipway.attack.bounds import MIB
from slipway.attack.transport import Connection, Dialler

_KEPT: Final = 4 * MIB  # of a response's body


class NoResponseError(Exception):
    """A well-framed request got no response; the message says what happened instead."""


@dataclass(frozen=True, slots=True)
class ReceivedResponse:
    """An HTTP response; header names are in lower case, and at most 4 MiB of the body are kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON, None if it is not."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(slots=True)
class _Parsing:
    """Collects what httptools finds."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        if len(self.body) < _KEPT:
            self.body += part

    def on_message_complete(self) -> None:
        self.complete = True


class HttpClient:
    """Sends requests, each on a connection of its own."""

    def __init__(self, dialler: Dialler, response_s: float) -> None:
        self.dialler = dialler
        self.response_s = response_s

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> ReceivedResponse:
        """Return the response; raise `NoResponseError` if there is none in time."""
        head = request_head(method, path, len(body), {"Host": str(self.dialler.address), **(headers or {})})
        try:
            async with asyncio.timeout(self.response_s), self.dialler.connection() as connection:
                return await _asked(connection, head + body)
        except TimeoutError:
            raise NoResponseError(f"no response within {self.response_s:g} s") from None
        except OSError as error:
            raise NoResponseError(f"no connection: {error.strerror or error}") from None

    async def post(self, path: str, document: object, headers: Mapping[str, str] | None = None) -> ReceivedResponse:
        """Return the response to a document, which is JSON or bytes."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.ask("POST", path, body, {"Content-Type": "application/json", **(headers or {})})


def request_head(method: str, path: str, size: int, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request that closes its connection; a header with the value "" is left out."""
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    lines += [] if "Content-Length" in headers or (not size and method == "GET") else [f"Content-Length: {size}"]
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _asked(connection: Connection, data: bytes) -> ReceivedResponse:
    sender = asyncio.ensure_future(connection.send(data))
    found = _Parsing()
    parser = httptools.HttpResponseParser(found)
    try:
        while not found.complete:
            part = await connection.read()
            if not part:
                break
            try:
                parser.feed_data(part)
            except httptools.HttpParserError:
                raise NoResponseError(f"the response is not HTTP: {part[:40]!r}") from None
        if sender.done():
            sender.result()
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    status = parser.get_status_code() if found.complete or found.headers else 0
    if not status:
        raise NoResponseError("the connection was closed without a response")
    return ReceivedResponse(status, found.headers, bytes(found.body))
