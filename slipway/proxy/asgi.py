"""Requests and responses as ASGI has them, for the routes where every microsecond counts. Knows no models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from slipway.core.budget import Budget

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
_DRAINED_S: Final = 2.0
_WATCHED_AFTER_S: Final = 0.05  # most requests are answered by then, and need nobody to watch their client


class TooLargeError(Exception):
    """A body has more bytes than the limit."""


class TooMuchHeldError(Exception):
    """The bodies of all requests together would take too much memory."""


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class HeldBody:
    """What the body of one request takes of the budget of all; bodies that come in one piece are too small to count."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def grow(self, size: int) -> None:
        """Count `size` bytes more; raise `TooMuchHeldError` if they exceed the bound."""
        if not self._budget.take(size):
            raise TooMuchHeldError
        self._size += size

    def release(self) -> None:
        """Return what was taken."""
        if self._size:
            self._budget.give_back(self._size)
            self._size = 0


async def read_body(receive: Receive, announced: int, limit: int, held: HeldBody) -> bytes:
    """Return the body of a request; `announced` is its Content-Length, or -1. Raise `TooLargeError`,
    `TooMuchHeldError` or `ClientGoneError`."""
    if announced > limit:
        raise TooLargeError
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise TooLargeError
        return body
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        if len(parts) + len(part) > limit:
            raise TooLargeError
        held.grow(len(part))
        parts += part
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()


async def answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a complete response."""
    size = (b"content-length", str(len(body)).encode("ascii"))
    await send({"type": "http.response.start", "status": status, "headers": [size, *headers]})
    await send({"type": "http.response.body", "body": body})


async def answer_early(receive: Receive, send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a complete response to a request whose body was not read, and close the connection. What the client is still
    sending is read for a while and dropped: many clients look for a response only when they have sent everything."""
    size = (b"content-length", str(len(body)).encode("ascii"))
    head = [size, *headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_S):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


class ClientWatch:
    """Cancels the task that made it when the client closes the connection, until `stop`; `gone` is then true."""

    __slots__ = ("_receive", "_task", "_timer", "_waiting", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._waiting: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCHED_AFTER_S, self._begin)
        self.gone = False

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._waiting is not None:
            self._waiting.cancel()

    def absorb(self) -> bool:
        """Return whether the client is the reason why the task was cancelled; if so, the task goes on."""
        if self.gone and self._task is not None:
            self._task.uncancel()
        return self.gone

    def _begin(self) -> None:
        self._waiting = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel()
