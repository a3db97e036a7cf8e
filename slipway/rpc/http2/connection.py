"""The life of one HTTP/2 connection: its transport, turns of the event loop, liveness, and its end.

`intake.py` knows what frames mean, `sending.py` how responses leave.
"""

from __future__ import annotations

import asyncio
from typing import Final

from slipway.rpc.http2 import frames
from slipway.rpc.http2.frames import Http2Code, Http2Error
from slipway.rpc.http2.heads import MAX_HEAD
from slipway.rpc.http2.intake import MAX_STREAMS, STREAM_WINDOW, WINDOW, CallFront, Http2Limits, Intake

MAX_CONNECTIONS: Final = 10_000  # of all clients; further ones are closed at once
_CALLS_PER_TURN: Final = 64  # then other connections have their turn
_STEPS_PER_TURN: Final = 1024
_SETTINGS: Final = frames.settings(
    {
        frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_HEADER_LIST_SIZE: MAX_HEAD,
    }
) + frames.window_update(0, WINDOW - frames.FIRST_WINDOW)


class Http2Connection(Intake, asyncio.Protocol):
    """Passes calls to `front`. Implements `call.CallChannel`."""

    def __init__(self, front: CallFront, limits: Http2Limits, connections: set[Http2Connection]) -> None:
        super().__init__(front, limits)
        self._connections = connections
        self._rest = b""  # of what was received
        self._preface = len(frames.PREFACE)  # bytes of it that are missing
        self._is_held_up = False  # a later turn goes on with `_rest`
        self._received = 0  # reads
        self._seen = (0, 0)  # reads and bytes sent at the last sweep
        self._still_s = 0.0
        self._alive: asyncio.TimerHandle | None = None

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self._transport = transport  # type: ignore[assignment]  # asyncio's TCP transport
        encrypted = transport.get_extra_info("ssl_object")
        is_other = encrypted is not None and encrypted.selected_alpn_protocol() != "h2"
        if is_other or len(self._connections) >= MAX_CONNECTIONS:
            self._is_closed = True
            self._transport.abort()
            return
        self.peer = _peer(transport.get_extra_info("peername"))
        self._connections.add(self)
        self._loop = asyncio.get_running_loop()
        self._alive = self._loop.call_later(self._limits.keepalive_s, self._check_alive, 0)
        self._transport.write(_SETTINGS)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Cancel the open calls."""
        self._connections.discard(self)
        self._is_closed = True
        if self._alive is not None:
            self._alive.cancel()
        for call in list(self._calls.values()):
            self._drop(call)

    def data_received(self, data: bytes) -> None:
        """Take the frames in `data`."""
        self._received += 1
        if self._is_closed:
            return
        if self._rest:
            data = self._rest + data
        if self._is_held_up:
            self._rest = data
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._work = self._steps = 0
        self._is_collecting = True
        try:
            at = self._opened(data) if self._preface else 0
            at = self._frames(data, at)
        except Http2Error as error:
            self._break(error)
            return
        finally:
            self._is_collecting = False
            self.flush()
        self._rest = data[at:]

    def _opened(self, data: bytes) -> int:
        """Read the preface and return where it ends."""
        given = data[: len(frames.PREFACE)]
        if not frames.PREFACE.startswith(given):
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "the connection does not begin with the preface of HTTP/2")
        self._preface = len(frames.PREFACE) - len(given)
        return 0 if self._preface else len(given)

    def _frames(self, data: bytes, at: int) -> int:
        """Take the complete frames from `at`; return where the rest begins."""
        size = len(data)
        if self._preface:
            return at
        while size - at >= frames.HEAD_SIZE:
            if self._work >= _CALLS_PER_TURN or self._steps >= _STEPS_PER_TURN or self._is_unread:
                self._hold_up()
                break
            high, low, kind, flags, stream = frames.HEAD.unpack_from(data, at)
            start = at + frames.HEAD_SIZE
            end = start + (high << 8 | low)
            if end - start > frames.MAX_FRAME:
                raise Http2Error(Http2Code.FRAME_SIZE_ERROR, f"a frame of {end - start} bytes")
            if end > size:
                break
            self._frame(kind, flags, stream & frames.MAX_WINDOW, data[start:end])  # without the reserved bit
            at = end
            self._steps += 1
        return at

    def _hold_up(self) -> None:
        """Go on in a later turn of the event loop, once others had theirs."""
        self._is_held_up = True
        self._transport.pause_reading()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._is_closed or self._is_unread or not self._is_held_up:
            return
        self._is_held_up = False
        data, self._rest = self._rest, b""
        self._take(data)
        self._read_on()

    def resume_writing(self) -> None:
        """Send what waits, and read again."""
        super().resume_writing()
        if self._is_held_up:
            self._loop.call_soon(self._go_on)
        self._read_on()

    def _read_on(self) -> None:
        if not (self._is_held_up or self._is_unread or self._transport.is_closing()):
            self._transport.resume_reading()

    # life

    def _break(self, error: Http2Error) -> None:
        """End a connection whose client broke the protocol."""
        self._rest = b""
        self._is_collecting = False
        self.flush()
        self._transport.write(frames.goaway(self._last_stream, error.code, error.reason))
        self._transport.close()
        self._is_closed = True
        for call in list(self._calls.values()):
            self._drop(call)

    def _check_alive(self, received: int) -> None:
        """Ask a client that has been silent for a whole period whether it is there."""
        limits = self._limits
        if received != self._received or not (self._calls or limits.keepalive_without_calls):
            self._alive = self._loop.call_later(limits.keepalive_s, self._check_alive, self._received)
            return
        self._transport.write(frames.frame(frames.PING, 0, 0, b"slipway\0"))
        self._alive = self._loop.call_later(limits.keepalive_timeout_s, self._check_reply, received)

    def _check_reply(self, received: int) -> None:
        if received == self._received:
            self.abort()
        else:
            self._check_alive(self._received - 1)

    def sweep(self, seconds: float) -> None:
        """Close the connection if it has made no progress for too long; called every `seconds`."""
        unsent = self._transport.get_write_buffer_size()
        seen = (self._received, self.written - unsent)
        is_stuck = bool(self._preface or self._rest or unsent or self._blocked)
        self._still_s = self._still_s + seconds if is_stuck and seen == self._seen else 0.0
        self._seen = seen
        if self._still_s >= (self._limits.opening_s if self._preface else self._limits.frame_s):
            self.abort()

    def drain(self) -> None:
        """Take no more calls, and close after the last response."""
        if self._is_closed:
            return
        self._is_draining = True
        self.flush()
        self._transport.write(frames.goaway(self._last_stream, Http2Code.NO_ERROR))
        if not self._calls:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def _peer(address: object) -> str:
    """Return a client's address as gRPC writes it."""
    if not isinstance(address, tuple):
        return ""
    host, port = address[:2]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
