"""One HTTP/1.1 connection of a client: sends a request, returns the response, connects again after a loss.

Knows no model. Built on httptools' parser, without a task or a stream per request: a client of a fast model spends its
time here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import httptools

from slipway.client.endpoint import Endpoint

_CONNECT_S: Final = 10.0
LARGEST_HEAD: Final = 1 << 20  # bytes of a response's head
LARGEST_BODY: Final = 2**31 - 1  # bytes; more than gRPC carries
HEADER_LENGTH: Final = b"inference-header-content-length"


@dataclass(slots=True)
class HttpResponse:
    """A response: status, the names of its headers in lower case, the body."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class UnreadableAnswerError(OSError):
    """What the server sent is not an answer, so that the request is not sent again."""


class _Receiver(asyncio.Protocol):
    """The socket's end: feeds the parser, and settles the future of the response that is awaited."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.awaited: asyncio.Future[HttpResponse] | None = None
        self.lost = False
        self._parser = httptools.HttpResponseParser(self)
        self._response = HttpResponse()
        self._parts: list[bytes] = []
        self._room = LARGEST_HEAD  # bytes that may still come of the head or the body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._fail(exc or ConnectionResetError("the server closed the connection before it answered"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(f"the answer is not HTTP: {error}")
            return
        self._room -= len(data)
        if self._room < 0:
            self._refuse("the answer is too large")

    def close(self) -> None:
        """Close the socket at once."""
        self.lost = True
        if self.transport is not None:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._response = HttpResponse()
        self._parts = []
        self._room = LARGEST_HEAD

    def on_headers_complete(self) -> None:
        self._room = LARGEST_BODY

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        response = self._response
        response.status = self._parser.get_status_code()
        if response.status < 200:  # the final response follows
            return
        response.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if not self._parser.should_keep_alive():
            self.close()
        if self.awaited is not None and not self.awaited.done():
            self.awaited.set_result(response)

    def _refuse(self, why: str) -> None:
        self._fail(UnreadableAnswerError(why))
        self.close()

    def _fail(self, error: Exception) -> None:
        if self.awaited is not None and not self.awaited.done():
            self.awaited.set_exception(error)


def request_head(endpoint: Endpoint, method: str, path: str, headers: str, size: int) -> bytes:
    """Return the head of a request with `size` bytes of body; `headers` are whole lines."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    always = "".join(f"{name}: {value}\r\n" for name, value in endpoint.headers)
    return (
        f"{method} {endpoint.prefix}{path} HTTP/1.1\r\nHost: {host}:{endpoint.port}\r\n"
        f"{always}{headers}Content-Length: {size}\r\n\r\n"
    ).encode()


class HttpExchange:
    """A connection that is opened when it is first used, and again when it was lost. Raises OSError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._receiver: _Receiver | None = None

    async def request(
        self,
        method: str,
        path: str,
        headers: str = "",
        body: Sequence[bytes] = (),
        *,
        size: int = 0,
        once: bool = False,
    ) -> HttpResponse:
        """Send a request whose body are the parts, `size` bytes, and return the response. `headers` are whole lines.

        A request that was lost with an idle connection is sent again, unless it has to be sent `once`.
        """
        reused = self._receiver is not None and not self._receiver.lost
        head = request_head(self._endpoint, method, path, headers, size)
        try:
            return await self._send([head, *body])
        except ConnectionError:
            if once or not reused:
                raise
        return await self._send([head, *body])  # the server had closed the idle connection

    def close(self) -> None:
        """Close the connection."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    async def _send(self, parts: Sequence[bytes]) -> HttpResponse:
        loop = asyncio.get_running_loop()
        receiver = self._receiver
        if receiver is None or receiver.lost or receiver.transport is None:
            receiver = await self._connected()
        answer: asyncio.Future[HttpResponse] = loop.create_future()
        receiver.awaited = answer
        cast("asyncio.Transport", receiver.transport).write(b"".join(parts))
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                return await answer
        except BaseException:
            receiver.close()  # a response that comes later must not be taken for the next one
            raise

    async def _connected(self) -> _Receiver:
        endpoint = self._endpoint
        async with asyncio.timeout(_CONNECT_S):
            _, receiver = await asyncio.get_running_loop().create_connection(
                _Receiver,
                endpoint.host,
                endpoint.port,
                ssl=endpoint.tls,
                server_hostname=endpoint.host if endpoint.tls else None,
            )
        self._receiver = receiver
        return receiver
