"""The life of one HTTP connection: socket, response order, flow control, time-outs, closing. Does not know routes.

`framing.py` decides what the bytes mean. A connection answers one request at a time; pipelined requests wait. Reading
pauses only when many requests or a large one are waiting, because the server has to read to notice that the client has
gone.
After a refusal the connection lingers: the server sends the response and end-of-file, then reads and drops input, so
that a client in the middle of a large upload still receives the reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from slipway.core.budget import Budget
from slipway.core.shared_bytes import Body
from slipway.rest.exchange import Exchange
from slipway.rest.framing import SMALL, HttpHead, Phase, RequestFraming, RequestLimits
from slipway.rest.response import CONTINUE, refusal

Handler = Callable[[Exchange], None]

_MAX_WAITING: Final = 32  # pipelined requests
_SLICE: Final = 2048  # bytes of many small requests that are read in one turn of the event loop: at most 1 ms of work
_MANY: Final = 16
_END_OF_HEAD: Final = b"\r\n\r\n"
_PROBE_S: Final = 1.0  # between two writes that show whether a half-closed client still reads


@dataclass(frozen=True, slots=True)
class HttpLimits(RequestLimits):
    """The limits of one connection: sizes of its requests, and time-outs in seconds."""

    head_s: float = 30.0  # from the first byte of a request to the end of its headers
    body_s: float = 60.0  # without receiving a byte of the body
    idle_s: float = 600.0  # between requests: client pools keep connections open for minutes
    linger_s: float = 10.0  # after a refusal
    send_s: float = 60.0  # without the client reading any of a response
    last_idle_s: float = 0.25  # between requests, while the server stops
    last_arrival_s: float = 2.0  # without receiving a byte of a request, while the server stops
    unsent: int = 64 << 20  # bytes of a streamed response that the client has not read


class HttpConnection(asyncio.Protocol):
    """Passes requests to `handler`, one at a time. Implements `framing.Receiver` and `exchange.Channel`."""

    __slots__ = (
        "_budget",
        "_connections",
        "_current",
        "_finished",
        "_framing",
        "_handler",
        "_held",
        "_is_awaited",
        "_is_deaf",
        "_is_half_closed",
        "_is_last",
        "_is_parsing",
        "_is_stopping",
        "_is_unread",
        "_limits",
        "_sent",
        "_still_s",
        "_swept",
        "_transport",
        "_unparsed",
        "_unread_s",
        "_unsent_held",
        "_waiting",
        "_writable",
        "_written",
    )

    exchange_type: ClassVar[type[Exchange]] = Exchange

    def __init__(self, handler: Handler, limits: HttpLimits, connections: set[HttpConnection], budget: Budget) -> None:
        self._handler = handler
        self._limits = limits
        self._budget = budget
        self._held = 0  # bytes of large bodies and responses, the body that arrives included
        self._unsent_held = 0  # what of it belongs to responses that the client has not read yet
        self._connections = connections
        self._framing = RequestFraming(self, limits)
        self._transport: asyncio.Transport
        self._unparsed = b""  # the rest of many small requests that came at once
        self._is_parsing = False  # a later turn of the event loop passes on more of it
        self._current: Exchange | None = None  # the request being answered
        self._waiting: deque[Exchange | bytes] = deque()  # requests after it; the last may be the bytes of a refusal
        self._is_awaited = False  # the client waits for 100 Continue, which is to follow the responses that are due
        self._is_deaf = False  # further input is dropped
        self._is_half_closed = False  # the client will send nothing more, but may still read
        self._is_stopping = False
        self._is_last = False  # the current response says that the connection closes after it
        self._is_unread = False  # the client is not reading its responses
        self._writable = asyncio.Event()  # it does
        self._writable.set()
        self._finished = 0  # responses sent
        self._swept = -1  # progress at the last sweep
        self._still_s = 0.0
        self._written = 0  # bytes of responses
        self._sent = 0  # what of them had left at the last sweep
        self._unread_s = 0.0

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport and register the connection."""
        self._transport = transport  # type: ignore[assignment]  # asyncio's TCP transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Cancel the current request and drop the waiting ones; what a thread still reads stays in the budget."""
        self._connections.discard(self)
        self._is_deaf = True
        self._unparsed = b""
        self._waiting.clear()
        self._writable.set()
        self._framing.close()
        current, self._current = self._current, None
        kept = 0 if current is None else min(current.held, self._held)
        self._release(self._held - kept)
        self._unsent_held = 0
        if current is not None:
            current.disconnected(partial(self._release, kept))

    def data_received(self, data: bytes) -> None:
        """Pass the bytes to the framing; many small requests in slices, so that other connections have their turns."""
        if self._is_deaf:
            return
        if self._unparsed:
            self._unparsed += data
        elif len(data) > _SLICE and data.count(_END_OF_HEAD) > _MANY:
            self._unparsed = data
            self._transport.pause_reading()
            self._parse_on()
        else:
            self._framing.receive(data)

    def _parse_on(self) -> None:
        """Pass on the next slice, and go on in a later turn of the event loop, once its requests are taken up."""
        self._is_parsing = False
        part, self._unparsed = self._unparsed[:_SLICE], self._unparsed[_SLICE:]
        if part and not self._is_deaf:
            self._framing.receive(part)
        if self._is_deaf:
            self._unparsed = b""
        self._read_on()

    def eof_received(self) -> bool:
        """Keep the connection if the current response is a stream, or has begun: a client may close its side after the
        request."""
        current = self._current
        if current is None or (current.on_half_close is None and not current.answered):
            return False
        self._is_half_closed = True
        self._probe(current)
        return True

    def _probe(self, exchange: Exchange) -> None:
        if self._current is exchange and exchange.on_half_close is not None:
            exchange.on_half_close()
            asyncio.get_running_loop().call_later(_PROBE_S, self._probe, exchange)

    def pause_writing(self) -> None:
        """Stop reading requests while the client does not read its responses."""
        self._is_unread = True
        self._writable.clear()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again, unless requests are waiting."""
        self._is_unread = False
        self._writable.set()
        if self._unsent_held:
            self._release(self._unsent_held)
            self._unsent_held = 0
        if self._waiting and self._current is None:
            asyncio.get_running_loop().call_soon(self._start_waiting)
        else:
            self._read_on()

    def _read_on(self) -> None:
        if self._waiting or self._is_unread or self._is_half_closed or self._transport.is_closing():
            return
        if not self._unparsed:
            self._transport.resume_reading()
        elif not self._is_parsing:
            self._is_parsing = True
            asyncio.get_running_loop().call_soon(self._parse_on)

    # requests

    def may_share(self, target: bytes, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the body is that of an inference request with binary tensors, as they are."""
        is_inference = target.partition(b"?")[0].endswith(b"/infer")
        return is_inference and b"inference-header-content-length" in headers and b"content-encoding" not in headers

    def request_received(self, head: HttpHead, body: Body) -> None:
        """Start the request, or queue it after the current one."""
        if self._is_deaf:
            return
        self._is_awaited = False  # the client did not wait
        exchange = self.exchange_type(self, head, body)
        if self._current is None and not self._waiting:
            self._start(exchange)
            return
        self._waiting.append(exchange)
        if len(self._waiting) >= _MAX_WAITING or len(body) > SMALL:
            self._transport.pause_reading()

    def peer(self) -> object:
        """Return the client's address as the socket has it."""
        return self._transport.get_extra_info("peername")

    def hold(self, size: int) -> bool:
        """Take the bytes of a large body from the budget of all connections."""
        if not self._budget.take(size):
            return False
        self._held += size
        return True

    def _release(self, size: int) -> None:
        self._held -= size
        self._budget.give_back(size)

    def continue_expected(self) -> None:
        """Let the client send its body, once earlier requests are answered."""
        if self._is_deaf:
            return
        if self._current is None and not self._waiting:
            self._transport.write(CONTINUE)
        else:
            self._is_awaited = True

    def refused(self, status: int, message: str) -> None:
        """Stop reading requests; send the reason after the responses that are still due."""
        if self._is_deaf:
            return
        self._is_deaf = True
        self._release(self._held - self._unsent_held - sum(exchange.held for exchange in self._exchanges()))
        answer = refusal(status, message)
        if self._current is None and not self._waiting:
            self._send_refusal(answer)
        else:
            self._waiting.append(answer)

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self._handler(exchange)
        if self._is_half_closed:
            self._probe(exchange)

    # responses

    def decide_to_close(self, exchange: Exchange) -> bool:
        """Decide, once the head of a response is written, whether the connection closes after it; return that."""
        if not exchange.head.keep_alive or (self._is_stopping and not self._waiting and not self._unparsed):
            self._is_last = True
        return self._is_last

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Write a part of the current request's streamed response; abort if the client does not read it."""
        if self._current is not exchange:
            return
        self._written += len(data)
        self._transport.write(data)
        self.bound(exchange, 0)

    def bound(self, exchange: Exchange, waiting: int) -> None:
        """Abort if the client has not read too much of its stream, `waiting` bytes that are not written included."""
        if self._current is exchange and self._transport.get_write_buffer_size() + waiting > self._limits.unsent:
            self._transport.abort()

    def finish(self, exchange: Exchange, parts: Iterable[bytes | memoryview], *, close: bool = False) -> None:
        """Write the (rest of the) response to the current request and start the next one."""
        if self._current is not exchange:
            return
        for part in parts:
            self._written += len(part)
            self._transport.write(part)
        self._current = None
        self._finished += 1
        if self._held:
            self._let_go(min(exchange.held, self._held))
        if close or self._is_last or (self._is_half_closed and not self._waiting):
            self._is_deaf = True
            self._waiting.clear()
            self._transport.close()
        elif self._waiting and not self._is_unread:
            asyncio.get_running_loop().call_soon(self._start_waiting)
        elif self._is_awaited and not self._waiting:
            self._is_awaited = False
            self._transport.write(CONTINUE)

    def _let_go(self, size: int) -> None:
        """Release the bytes of an answered request, or leave that to `resume_writing` if the client has to read yet."""
        if self._is_unread:
            self._unsent_held += size
        else:
            self._release(size)

    async def drained(self) -> None:
        """Wait until the client has read almost everything."""
        await self._writable.wait()

    def cut(self, exchange: Exchange) -> None:
        """Abort if the response to `exchange` is still being sent."""
        if self._current is exchange:
            self._transport.abort()

    def _start_waiting(self) -> None:
        while self._waiting and self._current is None and not self._is_unread:
            first = self._waiting.popleft()
            if isinstance(first, bytes):
                self._send_refusal(first)
            else:
                self._start(first)
        self._read_on()

    def _send_refusal(self, answer: bytes) -> None:
        self._written += len(answer)
        self._transport.write(answer)
        self._write_eof()
        asyncio.get_running_loop().call_later(self._limits.linger_s, self._transport.close)

    def _write_eof(self) -> None:
        self._transport.write_eof()

    # life

    def sweep(self, seconds: float) -> None:
        """Close the connection if it has made no progress for too long; called every `seconds`."""
        if self._is_stuck(seconds):
            self._transport.abort()
            return
        if self._current is not None or self._is_deaf:
            return
        progress = self._framing.progress + self._finished
        if progress != self._swept:
            self._swept = progress
            self._still_s = 0.0
            return
        self._still_s += seconds
        phase = self._framing.phase
        if self._still_s < self._patience_s(phase):
            return
        if phase is Phase.IDLE:
            self._transport.close()
        else:
            self._framing.refuse(408, "the request did not arrive in time")

    def _is_stuck(self, seconds: float) -> bool:
        """Return whether the client has not read any of a response for too long."""
        unsent = self._transport.get_write_buffer_size()
        sent = self._written - unsent
        self._unread_s = self._unread_s + seconds if unsent and sent <= self._sent else 0.0
        self._sent = sent
        return self._unread_s >= self._limits.send_s

    def _patience_s(self, phase: Phase) -> float:
        limits = self._limits
        if phase is Phase.IDLE:
            return limits.last_idle_s if self._is_stopping else limits.idle_s
        if self._is_stopping:
            return limits.last_arrival_s
        return limits.head_s if phase is Phase.HEAD else limits.body_s

    @property
    def open_requests(self) -> int:
        """The number of requests that are not answered yet."""
        return len(self._exchanges())

    def _exchanges(self) -> list[Exchange]:
        return [each for each in (self._current, *list(self._waiting)) if isinstance(each, Exchange)]

    def stop(self) -> None:
        """Close after the last response that is due: the current request's, or the next one's if there is none."""
        self._is_stopping = True
        self._swept = -1  # `sweep` counts from now on

    def abort(self) -> None:
        """Close at once; unsent responses are lost."""
        self._transport.abort()
