"""Calls over HTTP/1.1 for asyncio, on `HttpExchange`: a connection for each call under way, kept for the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from math import isinf
from typing import Final, TypeVar

import httptools

from slipway.client.endpoint import Endpoint
from slipway.client.events import EventLines
from slipway.client.http_exchange import LARGEST_HEAD, HttpExchange, request_head
from slipway.client.messages import Incoming, Outgoing
from slipway.client.transport import CLOSED, CUT_OFF, failed, late
from slipway.errors import unavailable

_READ: Final = 64 << 10
_MAX_IDLE: Final = 64
T = TypeVar("T")


class AsyncHttpTransport:
    """Implements `AsyncTransport`; belongs to the event loop that uses it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[HttpExchange] = []
        self._is_closed = False

    async def send(self, outgoing: Outgoing, timeout: float) -> Incoming:  # noqa: ASYNC109  as gRPC's
        """Return the whole response."""
        self._require_open()
        exchange = self._idle.pop() if self._idle else HttpExchange(self._endpoint)
        headers = _lines(outgoing)
        try:
            async with asyncio.timeout(timeout):
                response = await exchange.request(
                    outgoing.method,
                    outgoing.target,
                    headers,
                    (outgoing.body,),
                    size=outgoing.size,
                    once=outgoing.once,
                )
        except TimeoutError:
            exchange.close()
            raise late(self._endpoint, timeout) from None
        except OSError as error:
            exchange.close()
            raise failed(self._endpoint, error) from None
        except BaseException:
            exchange.close()
            raise
        if self._is_closed or len(self._idle) >= _MAX_IDLE:
            exchange.close()
        else:
            self._idle.append(exchange)
        return Incoming(response.body, response.status, response.headers)

    async def stream(self, outgoing: Outgoing, timeout: float) -> AsyncGenerator[Incoming, None]:  # noqa: ASYNC109
        """Yield the data of each server-sent event, or a response that is not a stream, on a connection of its own."""
        self._require_open()
        deadline = time.monotonic() + timeout
        writer: asyncio.StreamWriter | None = None
        try:
            reader, opened = await _within(deadline, self._connect())
            writer = opened
            head = request_head(self._endpoint, outgoing.method, outgoing.target, _lines(outgoing), outgoing.size)
            opened.write(b"".join((head, *outgoing.parts)))
            answer = _StreamedAnswer()
            while not answer.is_complete:
                data = await _within(deadline, reader.read(_READ))
                if not data:
                    raise unavailable(CUT_OFF)
                for event in answer.feed(data):
                    yield Incoming(event)
            if answer.status != 200:
                yield Incoming(answer.body, answer.status)
        except TimeoutError:
            raise late(self._endpoint, timeout) from None
        except (OSError, httptools.HttpParserError, ValueError) as error:
            raise failed(self._endpoint, error) from None
        finally:
            if writer is not None:
                writer.transport.abort()

    async def close(self) -> None:
        """Close the idle connections; those of calls under way are closed when these end."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for exchange in idle:
            exchange.close()

    def _connect(self) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        endpoint = self._endpoint
        name = endpoint.host if endpoint.tls else None
        return asyncio.open_connection(endpoint.host, endpoint.port, ssl=endpoint.tls, server_hostname=name)

    def _require_open(self) -> None:
        if self._is_closed:
            raise unavailable(CLOSED)


class _StreamedAnswer:
    """Reads one response whose body is server-sent events, or the refusal instead of it."""

    def __init__(self) -> None:
        self.is_complete = False
        self.status = 0
        self.body = b""  # of a refusal
        self._parser = httptools.HttpResponseParser(self)
        self._lines = EventLines()
        self._events: list[bytes] = []
        self._room = LARGEST_HEAD  # bytes that may still come of the head or a refusal

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that `data` completes; raise ValueError for more than an answer can be."""
        self._parser.feed_data(data)
        self._room -= len(data)
        if self._room < 0:
            raise ValueError("the answer is too large")
        events, self._events = self._events, []
        return events

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._room = LARGEST_HEAD

    def on_body(self, body: bytes) -> None:
        if self.status == 200:
            self._events += self._lines.feed(body)
            self._room = LARGEST_HEAD
        else:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = self.status >= 200  # before it, the final response follows


async def _within(deadline: float, step: Awaitable[T]) -> T:
    """Return the result of a step; raise TimeoutError if the deadline comes first."""
    left = deadline - time.monotonic()
    async with asyncio.timeout(None if isinf(left) else max(left, 0.0)):
        return await step


def _lines(outgoing: Outgoing) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in outgoing.headers)
