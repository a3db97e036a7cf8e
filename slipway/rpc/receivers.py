"""Who gets what clients send in the calls of the asyncio engine: ModelInfer, the other unary RPCs, ModelStreamInfer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import Final, NamedTuple

from slipway.core.large_work import LARGE, run_large
from slipway.core.pending import Pending
from slipway.errors import Code, SlipwayError, unforeseen
from slipway.rpc.call_log import log_call, logged_call
from slipway.rpc.http2.call import Call
from slipway.rpc.http2.messages import CallRefusedError, inflated
from slipway.rpc.inference import LargeCall, UnaryInference
from slipway.rpc.protection import ForwardedHeaders
from slipway.rpc.service import MODEL_STREAM_INFER, Service
from slipway.rpc.status import GRPC_STATUS, NAMES, status_text
from slipway.rpc.stream import InferStream, StreamFailedError
from slipway.wire.protobuf_request import is_large_work

_INTERNAL: Final = 13
_MESSAGES_PER_TURN: Final = 8  # of a stream, in a turn of the event loop


async def inflate(message: bytes, call: Call, limit: int) -> bytes:
    """Return what a compressed message contains; raise `CallRefusedError`."""
    run = run_large if len(message) > LARGE else asyncio.to_thread  # small messages do not wait for large ones
    try:
        return await run(inflated, message, call.head.coding, limit)
    except MemoryError as error:
        fault = unforeseen(error)
        raise CallRefusedError(GRPC_STATUS[fault.code], fault.message) from None


class UnaryReceiver(ABC):
    """Waits for the only message of a call."""

    __slots__ = ("_call", "_is_compressed", "_limit", "_message", "_task")
    is_paused = False

    def __init__(self, call: Call, limit: int) -> None:
        self._call = call
        self._limit = limit
        self._message: bytes | None = None
        self._is_compressed = False
        self._task: asyncio.Task[None] | None = None

    def message(self, payload: bytes, *, is_compressed: bool) -> None:
        """Keep the message until the client's end."""
        if self._message is not None:
            raise CallRefusedError(_INTERNAL, "a unary call has more than one message")
        self._message = payload
        self._is_compressed = is_compressed

    def end(self) -> None:
        """Begin to answer."""
        message, self._message = self._message, None
        if message is None:
            raise CallRefusedError(_INTERNAL, "a unary call has no message")
        if self._is_compressed:
            self._task = asyncio.ensure_future(self._inflate(message))
        else:
            self._call.channel.taken(self._call, len(message))
            self._start(message)

    def cancelled(self) -> None:
        """Stop what is being done for the call."""
        self._message = None
        if self._task is not None:
            self._task.cancel()

    async def _inflate(self, message: bytes) -> None:
        call, size = self._call, len(message)
        try:
            message = await inflate(message, call, self._limit)
        except CallRefusedError as fault:
            call.channel.end(call, fault.status, fault.message)
        else:
            call.channel.taken(call, size)
            self._start(message)

    @abstractmethod
    def _start(self, message: bytes) -> None:
        """Begin to answer a message that is whole."""


class InferReceiver(UnaryReceiver):
    """Passes a ModelInfer call on."""

    __slots__ = ("_headers", "_inference", "_pending")

    def __init__(
        self, call: Call, inference: UnaryInference[Call], headers: ForwardedHeaders | None, limit: int
    ) -> None:
        super().__init__(call, limit)
        self._inference = inference
        self._headers = headers
        self._pending: Pending | LargeCall | None = None

    def _start(self, message: bytes) -> None:
        self._pending = self._inference.start(self._call, message, self._headers, self._call)

    def cancelled(self) -> None:
        """Cancel the request."""
        super().cancelled()
        if self._pending is not None:
            self._pending.cancel()


class RpcReceiver(UnaryReceiver):
    """Answers a unary RPC that is not ModelInfer."""

    __slots__ = ("_is_logged", "_service")

    def __init__(self, call: Call, service: Service, limit: int, *, log: bool) -> None:
        super().__init__(call, limit)
        self._service = service
        self._is_logged = log

    def _start(self, message: bytes) -> None:
        self._task = asyncio.ensure_future(self._answer(message))

    async def _answer(self, message: bytes) -> None:
        call = self._call
        answer: Awaitable[bytes] = self._service.call(call.head.path, message)
        if self._is_logged:
            answer = logged_call(answer, call.channel.peer, call.head.path)
        del message
        try:
            call.channel.respond(call, await answer)
        except SlipwayError as error:
            fail(call, error)
        except Exception as error:  # noqa: BLE001  every call gets a response, even after a bug
            fail(call, unforeseen(error))


class _Compressed(NamedTuple):
    """A message that waits. Those that are not compressed wait as they are: many small ones would take far more."""

    payload: bytes


class StreamReceiver:
    """Carries one ModelStreamInfer call: a task reads what has arrived, another writes the answers."""

    def __init__(self, call: Call, stream: InferStream, limit: int, *, log: bool, ended: Callable[[], None]) -> None:
        self._call = call
        self._stream = stream
        self._limit = limit
        self._is_logged = log
        self._ended = ended
        self._waiting: deque[bytes | _Compressed] = deque()
        self._has_all = False  # the client sends nothing more
        self._arrived = asyncio.Event()
        self._began, self._status = monotonic_ns(), Code.CANCELLED.name  # the client disconnected, or its time is over
        self._reader = asyncio.ensure_future(self._read())
        self._writer = asyncio.ensure_future(self._write())
        self._writer.add_done_callback(self._finished)  # also of a task that is cancelled before it begins

    @property
    def is_paused(self) -> bool:
        """Whether messages wait, so that flow control may hold the client."""
        return bool(self._waiting)

    def message(self, payload: bytes, *, is_compressed: bool) -> None:
        """Queue a message."""
        self._waiting.append(_Compressed(payload) if is_compressed else payload)
        self._arrived.set()

    def end(self) -> None:
        """Take note that nothing more comes."""
        self._has_all = True
        self._arrived.set()

    def cancelled(self) -> None:
        """Cancel the requests of the stream."""
        self._writer.cancel()

    async def _read(self) -> None:
        call, stream = self._call, self._stream
        left = _MESSAGES_PER_TURN
        try:
            while await self._has_message():
                left -= 1
                if not left:
                    left = _MESSAGES_PER_TURN
                    await asyncio.sleep(0)  # others have their turns
                waiting = self._waiting.popleft()
                if isinstance(waiting, _Compressed):
                    payload, size = await inflate(waiting.payload, call, self._limit), len(waiting.payload)
                else:
                    payload, size = waiting, len(waiting)
                del waiting
                call.channel.taken(call, size)
                if len(payload) > LARGE and is_large_work(payload):
                    await stream.receive_large(payload)
                else:
                    stream.receive(payload)
                del payload
                await stream.room()
                if not self._waiting:
                    call.channel.resume(call)
        except CallRefusedError as fault:
            call.channel.end(call, fault.status, fault.message)
            self._writer.cancel()
        finally:
            stream.end_input()

    async def _has_message(self) -> bool:
        while not self._waiting:
            if self._has_all:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _write(self) -> None:
        call, stream = self._call, self._stream
        try:
            while (answer := await stream.next_answer()) is not None:
                call.channel.send(call, answer)
                del answer
                await call.channel.drained(call)
        except StreamFailedError as failure:
            self._status = NAMES[failure.status]
            call.channel.end(call, failure.status, status_text(failure.message))
        else:
            self._status = "OK"
            call.channel.end(call, 0, "")

    def _finished(self, _: asyncio.Task[None]) -> None:
        self._ended()
        if self._is_logged:
            log_call(self._call.channel.peer, MODEL_STREAM_INFER, self._began, self._status)
        self._stream.cancel()
        self._reader.cancel()


def reply(call: Call, payload: bytes, error: SlipwayError | None) -> None:
    """Answer a ModelInfer call."""
    if error is None:
        call.channel.respond(call, payload)
    else:
        fail(call, error)


def fail(call: Call, error: SlipwayError) -> None:
    """End a call with an error."""
    call.channel.end(call, GRPC_STATUS[error.code], status_text(error.message))
