"""One request and the place to answer it. Knows HTTP messages, not models.

An exchange is answered exactly once, by `answer`, `fail`, or `begin_stream` ... `end_stream`; later answers are
dropped. When the client goes away first, `on_disconnect` runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from slipway.errors import SlipwayError
from slipway.rest.status import HTTP_STATUS, STATUS_LINE, error_body

if TYPE_CHECKING:
    from slipway.rest.connection import HttpConnection

log = logging.getLogger("slipway.http")

JSON: Final = b"Content-Type: application/json\r\n"
_JOIN_UP_TO: Final = 64 * 1024  # below this size one copy is cheaper than a vectored write


class Exchange:
    """A request (`method`, `path` without query, lower-case `headers`, `body`) waiting for its answer."""

    __slots__ = ("_connection", "_task", "answered", "body", "chunked", "headers", "method", "on_disconnect", "path")

    def __init__(
        self,
        connection: HttpConnection,
        method: bytes,
        path: bytes,
        headers: dict[bytes, bytes],
        body: bytes | bytearray,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.answered = False
        self.chunked = False
        self.on_disconnect: Callable[[], None] | None = None
        self._connection = connection
        self._task: asyncio.Task[None] | None = None

    def answer(self, status: int, headers: bytes = b"", *parts: bytes | memoryview) -> None:
        """Send the whole answer; `headers` are complete lines, `parts` make up the body."""
        if self.answered:
            return
        self.answered = True
        self.on_disconnect = None
        size = sum(map(len, parts))
        head = b"%b%bContent-Length: %d\r\n%b\r\n" % (
            STATUS_LINE[status],
            headers,
            size,
            self._connection.closing_line(),
        )
        if self.method == b"HEAD":
            parts = ()
        if size <= _JOIN_UP_TO:
            self._connection.finish(self, (b"".join((head, *parts)),))
        else:
            self._connection.finish(self, (head, *parts))

    def fail(self, error: SlipwayError) -> None:
        """Send an error."""
        self.answer(HTTP_STATUS[error.code], JSON, error_body(error.message))

    def begin_stream(self, status: int, headers: bytes) -> None:
        """Send the head of an answer whose length is not known."""
        self.answered = True
        self.chunked = self._connection.speaks_chunked()
        framing = b"Transfer-Encoding: chunked\r\n" if self.chunked else b""
        head = b"%b%b%b%b\r\n" % (STATUS_LINE[status], headers, framing, self._connection.closing_line())
        self._connection.send(self, head)

    def stream(self, data: bytes) -> None:
        """Send a piece of a streamed answer."""
        self._connection.send(self, b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def end_stream(self) -> None:
        """Send the end of a streamed answer."""
        self.on_disconnect = None
        self._connection.finish(self, (b"0\r\n\r\n",) if self.chunked else (), close=not self.chunked)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which answers this exchange or raises `SlipwayError`; it outlives the connection."""
        self._task = asyncio.get_running_loop().create_task(self._guard(work))

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except SlipwayError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  a defect must not cost other clients their connections
            self.fail_unexpectedly(error)
        finally:
            self._task = None

    def fail_unexpectedly(self, error: Exception) -> None:
        """Log `error`, which is a defect of ours, and answer without its details."""
        log.error("unexpected error while answering %r", self.path, exc_info=error)
        self.answer(500, JSON, error_body("internal error"))

    def disconnected(self) -> None:
        """Take notice that nobody waits for the answer any more."""
        self.answered = True
        action, self.on_disconnect = self.on_disconnect, None
        if action is not None:
            action()
