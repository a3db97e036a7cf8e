"""One request and the means to answer it. Knows HTTP messages, not models.

An exchange is answered exactly once, by `answer`, `fail`, or `begin_stream` ... `end_stream`; later responses are
dropped. If the client disconnects first, `on_disconnect` runs and the tasks that prepare the answer are cancelled; the
exchange counts as held in memory until they have ended. `on_half_close`, if there is one, runs instead if the client
may only have closed its side of the connection, and still be reading.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from slipway.core.budget import TOO_MUCH_HELD
from slipway.core.shared_bytes import Body, SharedBytes
from slipway.errors import SlipwayError, unavailable, unforeseen
from slipway.rest.framing import SMALL, HttpHead
from slipway.rest.response import (
    CLOSE,
    HTTP_STATUS,
    JSON,
    KEEP_ALIVE,
    LAST_CHUNK,
    Envelope,
    chunk,
    plain_envelope,
    sized_head,
    streamed_head,
)

_LOG: Final = logging.getLogger("slipway.rest")
_JOIN_UP_TO: Final = 64 * 1024  # bytes; up to this size a copy is cheaper than a vectored write


class Channel(Protocol):
    """The way back to a client: writes the bytes of responses and drops those that come out of turn."""

    def decide_to_close(self, exchange: Exchange) -> bool:
        """Decide, once the response's head is written, whether the connection closes after it; return that."""

    def peer(self) -> object:
        """Return the client's address as the socket has it."""

    def hold(self, size: int) -> bool:
        """Note that a request takes `size` more bytes of memory; return False if that is too much."""

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Write a part of a streamed response."""

    def bound(self, exchange: Exchange, waiting: int) -> None:
        """Abort if the streamed response has too many bytes to send, `waiting` ones that are not written included."""

    async def drained(self) -> None:
        """Wait until the client has read almost everything."""

    def cut(self, exchange: Exchange) -> None:
        """Abort if the response is still being sent: it cannot be completed."""

    def finish(self, exchange: Exchange, parts: Iterable[bytes | memoryview], *, close: bool = False) -> None:
        """Write the (rest of the) response, then close the connection or go on to the next request."""


class Exchange:
    """A request (`method`, `path` without query, lower-case `headers`, `body`) waiting for its response."""

    __slots__ = (
        "_on_end",
        "_tasks",
        "_to_end",
        "answered",
        "body",
        "channel",
        "envelope",
        "head",
        "headers",
        "held",
        "is_lost",
        "method",
        "on_disconnect",
        "on_half_close",
        "path",
    )

    def __init__(self, channel: Channel, head: HttpHead, body: Body) -> None:
        self.head = head
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        self.body = body
        self.held = len(body) if len(body) > SMALL else 0  # bytes of the budget for all connections
        self.answered = False
        self.is_lost = False  # the client has gone
        self.on_disconnect: Callable[[], None] | None = None
        self.on_half_close: Callable[[], None] | None = None
        self.channel = channel  # another one may be put before it
        self.envelope: Envelope = plain_envelope  # the form of errors
        self._tasks: tuple[asyncio.Task[None], ...] = ()  # one that decodes may start one that encodes
        self._to_end = False  # they go on without the client
        self._on_end: Callable[[], None] | None = None

    def text(self) -> bytes | bytearray:
        """Return the body of a request without binary tensors."""
        return bytes(self.body) if isinstance(self.body, SharedBytes) else self.body

    def hold(self, size: int) -> None:
        """Count `size` bytes more of this request as held in memory; raise UNAVAILABLE if that is too much."""
        if not self.channel.hold(size):
            raise unavailable(TOO_MUCH_HELD)
        self.held += size

    def hold_at_least(self, size: int) -> None:
        """Count this request, with its response, as at least `size` bytes, until the response is sent; raise
        UNAVAILABLE if that is too much. What a request of some size usually takes is in the budget's share."""
        if size > self.held:
            self.hold(size - self.held)

    def answer(self, status: int, headers: bytes = b"", *parts: bytes | memoryview) -> None:
        """Send the whole response; `headers` are complete lines, `parts` make up the body."""
        if self.answered:
            return
        self.answered = True
        self.on_disconnect = None
        size = sum(map(len, parts))
        if size > _JOIN_UP_TO:
            try:
                self.hold_at_least(size)
            except SlipwayError as error:
                status, document = self.envelope(HTTP_STATUS[error.code], error.message, error)
                headers, parts, size = JSON, (document,), len(document)
        head = sized_head(status, headers, size, self._connection())
        if self.method == b"HEAD" or status == 304:
            parts = ()
        if size <= _JOIN_UP_TO:
            self.channel.finish(self, (b"".join((head, *parts)),))
        else:
            self.channel.finish(self, (head, *parts))

    def fail(self, error: SlipwayError) -> None:
        """Send an error response."""
        status, document = self.envelope(HTTP_STATUS[error.code], error.message, error)
        self.answer(status, JSON, document)

    def refuse(self, status: int, message: str) -> None:
        """Send an error response with a status that no error's code has."""
        status, document = self.envelope(status, message, None)
        self.answer(status, JSON, document)

    def begin_stream(self, status: int, headers: bytes) -> None:
        """Send the head of a response of unknown length, unless it has been sent."""
        if self.answered:
            return
        self.answered = True
        chunked = self.head.takes_chunks
        connection = self._connection() if chunked else CLOSE
        self.channel.send(self, streamed_head(status, headers, connection, chunked=chunked))

    def _connection(self) -> bytes:
        """Return the `Connection` header line, or nothing if the HTTP version already implies it."""
        if self.channel.decide_to_close(self):
            return CLOSE
        return b"" if self.head.takes_chunks else KEEP_ALIVE  # HTTP/1.1, HTTP/1.0

    def stream(self, data: bytes) -> None:
        """Send a piece of a streamed response."""
        self.channel.send(self, chunk(data) if self.head.takes_chunks else data)

    def bound_stream(self, waiting: int) -> None:
        """Cut a streamed response off if it and `waiting` bytes that are still to be encoded are too much."""
        self.channel.bound(self, waiting)

    async def drained(self) -> None:
        """Wait until the client has read almost all of the streamed response. If it disconnects, the waiting task is
        cancelled."""
        await self.channel.drained()

    def end_stream(self) -> None:
        """Send the end of a streamed response."""
        self.on_disconnect = None
        if self.head.takes_chunks:
            self.channel.finish(self, (LAST_CHUNK,))
        else:
            self.channel.finish(self, (), close=True)

    def run(self, work: Coroutine[Any, Any, None], *, to_end: bool = False) -> None:
        """Run `work`, which answers this exchange or raises `SlipwayError`. If the client disconnects, the work is
        cancelled, unless it is to run `to_end`."""
        if self.is_lost:
            work.close()
            return
        self._to_end = to_end
        task = asyncio.get_running_loop().create_task(work)
        self._tasks += (task,)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks = tuple(each for each in self._tasks if each is not task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):  # a bug must not cost other clients their connections
            if self.answered:
                self._cut(error)
            elif isinstance(error, SlipwayError):
                self.fail(error)
            else:
                self.fail_unexpectedly(error)
        if not self._tasks and self._on_end is not None:
            action, self._on_end = self._on_end, None
            action()

    def _cut(self, error: Exception) -> None:
        """Log `error`; end the connection if the rest of the response is still due, so that the client sees that."""
        if not self.is_lost:
            _LOG.error("the response to %r cannot be completed", self.path, exc_info=error)
            self.channel.cut(self)

    def fail_unexpectedly(self, error: Exception) -> None:
        """Log `error`, which nobody expected, and answer without its details."""
        self.fail(self.unexpected(error))

    def unexpected(self, error: Exception) -> SlipwayError:
        """Log `error`, which nobody expected; return an error without its details."""
        _LOG.error("unexpected error while answering %r", self.path, exc_info=error)
        return unforeseen(error)

    def disconnected(self, on_end: Callable[[], None]) -> None:
        """Note that the client has gone: run `on_disconnect`, cancel the tasks, and run `on_end` once they have ended,
        at once if there are none."""
        self.answered = True
        self.is_lost = True
        action, self.on_disconnect = self.on_disconnect, None
        if action is not None:
            action()
        if not self._tasks:
            on_end()
            return
        self._on_end = on_end
        if not self._to_end:
            for task in self._tasks:
                task.cancel()
