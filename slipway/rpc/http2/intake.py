"""The receiving half of a connection: what each frame means for the calls. Does not know RPCs.

Every bound on what a client sends is here, except those on time: on streams, heads, windows and pings.
Source: RFC 9113; the limits on pings are grpcio's (`chttp2/transport/ping_abuse_policy.cc`).
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from slipway.errors import SlipwayError
from slipway.rpc.http2 import frames
from slipway.rpc.http2.call import Call
from slipway.rpc.http2.frames import Http2Code, Http2Error
from slipway.rpc.http2.heads import MAX_BLOCK, MAX_HEAD, CallHead, HeadReader, http_refusal
from slipway.rpc.http2.messages import CallRefusedError
from slipway.rpc.http2.sending import Sender
from slipway.rpc.status import GRPC_STATUS, RESOURCE_EXHAUSTED

MAX_STREAMS: Final = 512  # per connection; clients queue further calls
STREAM_WINDOW: Final = 1 << 20  # bytes that a call may send before they are taken
WINDOW: Final = 4 << 20
_LARGE: Final = 256 << 10  # bytes: a message above this counts in the budget until it is passed on, or sent
_USUAL_HEAD: Final = 256  # bytes, more than most clients send
_DEADLINE_EXCEEDED: Final = 4
_TWO_HOURS_S: Final = 7200.0


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """The limits of a connection; times in seconds, 0 strikes: any number of pings."""

    max_message: int
    keepalive_s: float = _TWO_HOURS_S
    keepalive_timeout_s: float = 20.0
    keepalive_without_calls: bool = False
    ping_strikes: int = 2
    ping_interval_s: float = 300.0
    opening_s: float = 10.0  # from the connection to the end of the client's preface
    frame_s: float = 60.0  # for a frame that has begun, and for a client that reads nothing of what is sent


class CallFront(Protocol):
    """Who answers the calls of all connections."""

    def begin(self, call: Call) -> None:
        """Take a call: give it its receiver, or end it."""

    def hold(self, size: int) -> None:
        """Take the bytes of a message that arrives, or waits for its client, from the budget; raise `SlipwayError` if
        that is spent."""

    def release(self, size: int) -> None:
        """Give them back."""


class Intake(Sender):
    """Takes frames, and passes calls to `front`. Implements the other methods of `call.CallChannel`."""

    peer = ""  # the client's address

    def __init__(self, front: CallFront, limits: Http2Limits) -> None:
        super().__init__()
        self._front = front
        self._limits = limits
        self._heads = HeadReader()
        self._last_stream = 0
        self._block: bytearray | None = None  # a head that is not complete, and the stream and flags that it has
        self._block_of = (0, 0)
        self._unreturned = 0  # bytes of data that the client may not send again yet
        self._work = 0  # in this turn of the event loop, in heads of a usual size
        self._steps = 0  # in this turn: frames, and messages in them
        self._pings = 0  # in a row that came too early
        self._last_ping_s = -_TWO_HOURS_S
        self._is_draining = False

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream != self._block_of[0]):
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "a head is interrupted")
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._headers(flags, stream, payload)
        elif kind in _HANDLERS:  # others are to be ignored
            _HANDLERS[kind](self, flags, stream, payload)

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        payload = frames.content(flags, payload, prioritised=True)
        if flags & frames.END_HEADERS:
            self._head(flags, stream, payload)
        else:
            self._block, self._block_of = bytearray(payload), (stream, flags)

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None:
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "a continuation of nothing")
        self._block += payload
        if len(self._block) > MAX_BLOCK or not payload:
            raise Http2Error(Http2Code.ENHANCE_YOUR_CALM, "a head is too large")
        if flags & frames.END_HEADERS:
            block, self._block = bytes(self._block), None
            self._head(self._block_of[1], stream, block)

    def _head(self, flags: int, stream: int, block: bytes) -> None:
        self._work += 1 + len(block) // _USUAL_HEAD
        head = self._heads.read(block)
        call = self._calls.get(stream)
        if call is not None:  # trailers of the client
            if not flags & frames.END_STREAM:
                raise Http2Error(Http2Code.PROTOCOL_ERROR, "a second head")
            self._end_input(call)
            return
        if stream % 2 == 0:
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "a call on the server's stream")
        if stream <= self._last_stream:  # of a call that has ended
            return
        self._last_stream = stream
        if self._is_draining or len(self._calls) >= MAX_STREAMS:
            self._write(frames.reset(stream, Http2Code.REFUSED_STREAM))
            return
        self._begin(stream, head, is_complete=bool(flags & frames.END_STREAM))

    def _begin(self, stream: int, head: CallHead, *, is_complete: bool) -> None:
        call = Call(self, stream, head, window=self._first_window, limit=self._limits.max_message)
        call.is_input_over = is_complete
        self._calls[stream] = call
        if head.refusal:
            block = http_refusal(head.refusal)
            flags = frames.END_HEADERS | frames.END_STREAM
            self._write(frames.frame(frames.HEADERS, flags, stream, block))
            self._finish(call)
            return
        if head.excess:
            self.end(call, RESOURCE_EXHAUSTED, f"Received metadata larger than max ({head.excess} vs. {MAX_HEAD})")
            return
        if head.timeout_s is not None:
            call.timer = self._loop.call_later(head.timeout_s, self._expired, call)
        self._front.begin(call)
        if is_complete and not call.is_over:
            self._complete(call)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._unreturned += size
        if self._unreturned >= WINDOW // 2:
            if self._unreturned > WINDOW:
                raise Http2Error(Http2Code.FLOW_CONTROL_ERROR, "more data than the window of the connection")
            self._write(frames.window_update(0, self._unreturned))
            self._unreturned = 0
        call = self._calls.get(stream)
        if call is None:
            if stream > self._last_stream or stream % 2 == 0:
                raise Http2Error(Http2Code.PROTOCOL_ERROR, "data of a call that has not started")
            return
        if call.is_input_over:
            self._write(frames.reset(stream, Http2Code.STREAM_CLOSED))
            self._drop(call)
            return
        call.unreturned += size
        if call.unreturned > STREAM_WINDOW:
            raise Http2Error(Http2Code.FLOW_CONTROL_ERROR, "more data than the window of the call")
        if flags & frames.PADDED:
            payload = frames.content(flags, payload)
        if payload:
            self._feed(call, payload)
        if flags & frames.END_STREAM:
            self._end_input(call)
        elif not call.is_over and not call.receiver.is_paused:
            self.resume(call)

    def _feed(self, call: Call, payload: bytes) -> None:
        reader = call.reader
        try:
            while payload and not call.is_over and call.trailers is None:
                message, payload = reader.feed(payload)
                if message is None:
                    self._hold(call, reader.wanted)
                else:
                    self._steps += 1
                    call.is_arriving_held = False
                    call.receiver.message(message, is_compressed=reader.is_compressed)
        except CallRefusedError as refusal:
            self._refuse(call, refusal.status, refusal.message)
        except SlipwayError as error:
            self._refuse(call, GRPC_STATUS[error.code], error.message)

    def _end_input(self, call: Call) -> None:
        if call.is_input_over or call.is_over:
            return
        call.is_input_over = True
        self._complete(call)

    def _complete(self, call: Call) -> None:
        if not call.reader.is_between:
            self._write(frames.reset(call.stream, Http2Code.PROTOCOL_ERROR))
            self._drop(call)
            return
        try:
            call.receiver.end()
        except CallRefusedError as refusal:
            self._refuse(call, refusal.status, refusal.message)

    def _hold(self, call: Call, size: int) -> None:
        """Take a large message that arrives from the budget, once."""
        if size > _LARGE and not call.is_arriving_held:
            self._front.hold(size)
            call.held += size
            call.is_arriving_held = True

    def taken(self, call: Call, size: int) -> None:
        """Give the bytes of a message back to the budget: its receiver passes it on."""
        if size > _LARGE and call.held:  # nothing is held of a call that has ended
            self._front.release(size)
            call.held -= size

    def _reset(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(Http2Code.FRAME_SIZE_ERROR, "a RST_STREAM frame does not have four bytes")
        if stream == 0 or stream > self._last_stream:
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "the reset of a call that has not started")
        call = self._calls.get(stream)
        if call is not None:
            self._drop(call)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "settings of a stream")
        if flags & frames.ACK:
            return
        self._work += 1
        for name, value in dict(frames.read_settings(payload)).items():  # the last of several counts
            if name == frames.INITIAL_WINDOW_SIZE:
                self._change_first_window(value)
            elif name == frames.MAX_FRAME_SIZE:
                self._change_max_frame(value)
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()  # behind the acknowledgement: until it comes, clients count with their windows of before

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise Http2Error(Http2Code.PROTOCOL_ERROR, "a ping of a stream")
        if len(payload) != 8:
            raise Http2Error(Http2Code.FRAME_SIZE_ERROR, "a PING frame does not have eight bytes")
        if flags & frames.ACK:
            return
        limits, now = self._limits, monotonic()
        is_used = self._calls or limits.keepalive_without_calls
        interval = limits.ping_interval_s if is_used else _TWO_HOURS_S
        if self.take_answered():
            self._pings, self._last_ping_s = 0, now - _TWO_HOURS_S
        if now - self._last_ping_s < interval:
            self._pings += 1
            if limits.ping_strikes and self._pings > limits.ping_strikes:
                raise Http2Error(Http2Code.ENHANCE_YOUR_CALM, "too_many_pings")
        self._last_ping_s = now
        self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _window_update(self, _: int, stream: int, payload: bytes) -> None:
        size = frames.read_increment(payload)
        if stream == 0:
            if size == 0:
                raise Http2Error(Http2Code.PROTOCOL_ERROR, "a window that grows by nothing")
            self._grow(size)
            return
        call = self._calls.get(stream)
        if call is None:
            if stream > self._last_stream:
                raise Http2Error(Http2Code.PROTOCOL_ERROR, "the window of a call that has not started")
        elif size == 0 or call.window + size > frames.MAX_WINDOW:
            self._write(frames.reset(stream, Http2Code.FLOW_CONTROL_ERROR if size else Http2Code.PROTOCOL_ERROR))
            self._drop(call)
        else:
            self._grow_call(call, size)

    def _push(self, _: int, __: int, ___: bytes) -> None:
        raise Http2Error(Http2Code.PROTOCOL_ERROR, "a client cannot push")

    # calls

    def resume(self, call: Call) -> None:
        """Let the client send more, after a pause."""
        if call.unreturned >= STREAM_WINDOW // 2 and not call.is_over and not call.is_input_over:
            self._write(frames.window_update(call.stream, call.unreturned))
            call.unreturned = 0

    def _wait(self, call: Call) -> None:
        size = 0 if call.unsent is None else sum(map(len, call.unsent)) - call.unsent_held
        if size <= _LARGE:
            return
        try:
            self._front.hold(size)
        except SlipwayError as error:
            call.unsent = None
            self._blocked.pop(call, None)
            self._refuse(call, GRPC_STATUS[error.code], error.message)
        else:
            call.unsent_held += size

    def _waits_no_more(self, call: Call) -> None:
        if call.unsent_held:
            self._front.release(call.unsent_held)
            call.unsent_held = 0

    def _refuse(self, call: Call, status: int, message: str) -> None:
        """End a call for what its client sent."""
        self.end(call, status, message)
        call.receiver.cancelled()

    def _expired(self, call: Call) -> None:
        call.timer = None
        if call.unsent:  # the client does not read, and does not wait any more
            self._write(frames.reset(call.stream, Http2Code.CANCEL))
            self._drop(call)
        else:
            self._refuse(call, _DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _drop(self, call: Call) -> None:
        """Forget a call that the client has given up."""
        self._forget(call)
        if not call.head.refusal:
            call.receiver.cancelled()

    def _forget(self, call: Call) -> None:
        super()._forget(call)
        self._waits_no_more(call)
        if call.held:
            self._front.release(call.held)
            call.held = 0
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        if self._is_draining and not self._calls:
            self._loop.call_soon(self._transport.close)


_HANDLERS: Final = {
    frames.RST_STREAM: Intake._reset,  # noqa: SLF001  of this module
    frames.SETTINGS: Intake._settings,  # noqa: SLF001
    frames.PUSH_PROMISE: Intake._push,  # noqa: SLF001
    frames.PING: Intake._ping,  # noqa: SLF001
    frames.WINDOW_UPDATE: Intake._window_update,  # noqa: SLF001
    frames.CONTINUATION: Intake._continuation,  # noqa: SLF001
}
