"""The sending half of a connection: responses in frames, within the windows that the client opens.

A response that fits into the windows leaves in one piece. What does not waits in its call, and calls that wait have
turns of a frame each. Nothing is handed to the transport while that holds what the client does not read.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

from slipway.rpc.http2 import frames
from slipway.rpc.http2.call import Call
from slipway.rpc.http2.frames import Http2Code, Http2Error
from slipway.rpc.http2.heads import OK_TRAILERS, RESPONSE, trailers
from slipway.rpc.http2.messages import PREFIX, PREFIX_SIZE

_LARGEST_FRAME: Final = 256 << 10
_JOINED: Final = frames.MAX_FRAME - PREFIX_SIZE  # bytes of a message that leave with its prefix
_MOST_COLLECTED: Final = 1 << 20  # bytes of messages that are not handed to the transport yet
_LAST: Final = frames.END_HEADERS | frames.END_STREAM


class Sender(ABC):
    """Implements the methods of `call.CallChannel` that send."""

    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}  # by stream
        self._blocked: dict[Call, None] = {}  # they have something to send
        self._window = frames.FIRST_WINDOW
        self._first_window = frames.FIRST_WINDOW
        self._max_frame = frames.MAX_FRAME
        self._out: list[bytes] = []
        self._collected = 0  # bytes of messages in it, apart from small ones
        self._is_collecting = False  # what is written waits for the end of what was received
        self._is_unread = False  # the transport holds enough
        self._is_closed = False
        self._has_answered = False
        self.written = 0  # bytes

    def take_answered(self) -> bool:
        """Return whether something was answered since the last time."""
        answered, self._has_answered = self._has_answered, False
        return answered

    # transport

    def pause_writing(self) -> None:
        """Stop reading requests while the client does not read its responses."""
        self._is_unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Send what waits, once the transport has finished what it is doing: it may fail at what it would be given."""
        self._is_unread = False
        self._loop.call_soon(self._pump)

    def _write(self, data: bytes) -> None:
        """Send `data` with what else is written in this turn of the event loop: each system call costs."""
        if not self._out and not self._is_collecting:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Pass on what was written."""
        data = b"".join(self._out)
        self._out.clear()  # before the transport may ask for more
        self._collected = 0
        if data and not self._is_closed:
            self.written += len(data)
            self._transport.write(data)

    # responses

    def respond(self, call: Call, payload: bytes) -> None:
        """Send the only message of a response and end the call."""
        if call.is_over:
            return
        size = PREFIX_SIZE + len(payload)
        if size > self._max_frame or size > self._window or size > call.window or self._is_unread:
            self.send(call, payload)
            self._end(call, OK_TRAILERS)
            return
        self._has_answered = True
        self._window -= size
        stream = call.stream
        self._write(
            b"".join(
                (
                    frames.head(frames.HEADERS, frames.END_HEADERS, stream, len(RESPONSE)),
                    RESPONSE,
                    frames.head(frames.DATA, 0, stream, size),
                    PREFIX.pack(0, len(payload)),
                    payload,
                    frames.head(frames.HEADERS, _LAST, stream, len(OK_TRAILERS)),
                    OK_TRAILERS,
                )
            )
        )
        self._finish(call)

    def send(self, call: Call, payload: bytes) -> None:
        """Send one message of a response, now or when the client has room for it."""
        if call.is_over:
            return
        if not call.has_begun:
            call.has_begun = True
            self._write(frames.frame(frames.HEADERS, frames.END_HEADERS, call.stream, RESPONSE))
        if call.unsent is None:
            call.unsent = deque()
        prefix = PREFIX.pack(0, len(payload))
        call.unsent.append(memoryview(prefix + payload[:_JOINED]))
        if len(payload) > _JOINED:  # not copied as a whole
            call.unsent.append(memoryview(payload)[_JOINED:])
        self._blocked[call] = None
        self._pump_call(call)
        if call.unsent:
            self._wait(call)

    @abstractmethod
    def _wait(self, call: Call) -> None:
        """Take note that what is left to send waits for the client."""

    @abstractmethod
    def _waits_no_more(self, call: Call) -> None:
        """Take note that nothing does."""

    def end(self, call: Call, status: int, message: str) -> None:
        """End the call behind what was sent."""
        self._end(call, trailers(status, message) if status else OK_TRAILERS)

    def _end(self, call: Call, block: bytes) -> None:
        if call.is_over or call.trailers is not None:
            return
        if call.unsent:
            call.trailers = block
        else:
            self._send_trailers(call, block)

    def _send_trailers(self, call: Call, block: bytes) -> None:
        self._has_answered = True
        self._write(frames.frame(frames.HEADERS, _LAST, call.stream, block if call.has_begun else RESPONSE + block))
        self._finish(call)

    async def drained(self, call: Call) -> None:
        """Wait until the client has room for another message."""
        if call.unsent and not call.is_over:
            call.room = self._loop.create_future()
            await call.room

    def _finish(self, call: Call) -> None:
        """Forget an answered call; a client that still sends is asked to stop."""
        if not call.is_input_over:
            self._write(frames.reset(call.stream, Http2Code.NO_ERROR))
        self._forget(call)

    def _forget(self, call: Call) -> None:
        call.is_over = True
        self._calls.pop(call.stream, None)
        self._blocked.pop(call, None)
        call.unsent = None
        _let_in(call)

    # windows

    def _grow(self, size: int) -> None:
        was_used_up = self._window <= 0  # otherwise no call waits for it
        self._window += size
        if self._window > frames.MAX_WINDOW:
            raise Http2Error(Http2Code.FLOW_CONTROL_ERROR, "the window of the connection is too large")
        if was_used_up:
            self._pump()

    def _grow_call(self, call: Call, size: int) -> None:
        call.window += size
        if call in self._blocked:
            self._pump_call(call)

    def _change_first_window(self, size: int) -> None:
        change, self._first_window = size - self._first_window, size
        for call in self._calls.values():
            call.window += change
            if call.window > frames.MAX_WINDOW:
                raise Http2Error(Http2Code.FLOW_CONTROL_ERROR, "the window of a call is too large")

    def _change_max_frame(self, size: int) -> None:
        self._max_frame = min(size, _LARGEST_FRAME)

    def _pump(self) -> None:
        """Send a frame of each call that waits, until none of them may send more."""
        has_sent = True
        while has_sent:
            has_sent = False
            for call in list(self._blocked):
                if self._window <= 0 or self._is_unread:
                    return
                has_sent |= self._send_piece(call)

    def _pump_call(self, call: Call) -> None:
        while call in self._blocked and self._send_piece(call):
            pass

    def _send_piece(self, call: Call) -> bool:
        """Send a frame of a call, if it may; return whether it did."""
        room = min(self._window, call.window, self._max_frame)
        if room <= 0 or self._is_unread or not call.unsent:
            return False
        first = call.unsent[0]
        piece = first[:room]
        if len(piece) == len(first):
            call.unsent.popleft()
        else:
            call.unsent[0] = first[room:]
        self._window -= len(piece)
        call.window -= len(piece)
        self._has_answered = True
        self._write(frames.head(frames.DATA, 0, call.stream, len(piece)) + piece)
        self._collected += len(piece)
        if self._collected >= _MOST_COLLECTED:  # the transport says when it holds enough
            self.flush()
        if not call.unsent:
            self._blocked.pop(call, None)
            self._waits_no_more(call)
            if call.trailers is not None:
                self._send_trailers(call, call.trailers)
            else:
                _let_in(call)
        return True


def _let_in(call: Call) -> None:
    room, call.room = call.room, None
    if room is not None and not room.done():
        room.set_result(None)
