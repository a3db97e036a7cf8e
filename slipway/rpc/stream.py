"""One ModelStreamInfer call: requests in, responses out in the right order, bounded memory. Does not know the engines.

Responses of models that are not decoupled are sent in the order of their requests; responses of decoupled models are
sent as they come. An error is sent as a response, unless the client requested a gRPC status instead (metadata
`triton_grpc_error`).

A slow client cannot fill the server's memory. While more than `PAUSE_BYTES` or `PAUSE_ANSWERS` wait to be written, no
further requests are read and HTTP/2 flow control stops the client. If decoupled models keep producing responses, the
stream ends with RESOURCE_EXHAUSTED when more than `LIMIT_BYTES` wait. Both hold for less once the budget of all
connections is spent (`unread.py`). Large responses that wait for a thread, which prepares them, count too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from slipway.config.restrictions import Restrictions
from slipway.core.explanation import EXPLAIN, EXPLAIN_HEADER, Explanation
from slipway.core.large_work import LARGE, run_large
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.version import requested_version
from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError, internal, unforeseen
from slipway.rpc.in_flight import InFlight
from slipway.rpc.inference import unsendable
from slipway.rpc.protection import ForwardedHeaders, asks_for_explanations, check_explanation
from slipway.rpc.status import GRPC_STATUS, RESOURCE_EXHAUSTED
from slipway.rpc.traced import Metadata, begin_sending, begin_trace, end_sending, note_failure
from slipway.rpc.unread import Unread
from slipway.tracing.trace import RequestTrace
from slipway.wire.protobuf_plans import ParsedRequest, RequestPlans
from slipway.wire.protobuf_request import DecodedRequest, ReadRequest, read_request, request_id
from slipway.wire.protobuf_response import (
    encode_stream_refusal,
    encode_stream_response,
    encode_stream_status,
    is_large_answer,
    prepare,
)

PAUSE_BYTES: Final = 16 * 2**20
PAUSE_ANSWERS: Final = 1024
LIMIT_BYTES: Final = 256 * 2**20
_ANSWER_OVERHEAD: Final = 128  # bytes object and queue entry, so that many tiny responses count too

_LOG: Final = logging.getLogger("slipway.rpc")


_Unprepared = deque[tuple[InferResponse, int]]  # responses that wait for a thread, with the bytes that they count


class StreamFailedError(Exception):
    """The stream has to end with this gRPC status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Exchange:
    """One request of the stream. `answer` holds its response until it is its turn."""

    __slots__ = ("answer", "decoupled", "held", "id", "open", "trace", "unprepared")

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.decoupled = False
        self.answer: bytes | None = None
        self.open = True
        self.held = 0  # bytes of the budget for all connections
        self.trace: RequestTrace | None = None
        # A large response that is being prepared, and those after it; None most of the time.
        self.unprepared: _Unprepared | None = None


class InferStream:
    """The state of one stream; all methods run on the event-loop thread."""

    def __init__(
        self,
        dataplane: Dataplane,
        in_flight: InFlight,
        *,
        errors_end_stream: bool,
        headers: ForwardedHeaders | None = None,
        metadata: Metadata = (),
        restrictions: Restrictions = MappingProxyType({}),
        plans: RequestPlans | None = None,
    ) -> None:
        """`plans` are those of all calls: of its own, each stream could fill some megabytes with them."""
        self._dataplane = dataplane
        self._regions = dataplane.regions
        self._metadata = metadata
        self._restrictions = restrictions
        self._in_flight = in_flight
        self._errors_end_stream = errors_end_stream
        self._explains = any(key == EXPLAIN_HEADER for key, _ in metadata)  # or says that it does not
        self._headers = headers
        self._plans = plans or RequestPlans()
        self._open: dict[_Exchange, Pending | None] = {}
        self._ordered: deque[_Exchange] = deque()  # not decoupled, not yet in `_outgoing`
        self._outgoing: deque[bytes] = deque()
        self._unread = Unread(in_flight)  # what waits in `_outgoing`, in `_ordered` and unprepared
        self._large: set[asyncio.Task[None]] = set()  # messages that are being read, responses that are being prepared
        self._input_ended = False
        self._failure: tuple[int, str] | None = None  # gRPC status and message
        self._changed = asyncio.Event()  # for the writer
        self._room = asyncio.Event()  # for the reader
        self._room.set()

    def receive(self, payload: bytes) -> None:
        """Take one request message; an invalid request gets an error response."""
        if self._input_ended:
            return
        try:
            message = self._plans.parse(payload)
        except SlipwayError as error:
            self._fail(GRPC_STATUS[error.code], error.message)
            return
        exchange = self._enter(message.id)
        if len(payload) > LARGE:
            if not self._hold(exchange, len(payload)):
                return
            exchange.held = len(payload)
        self._begin(exchange, message)

    async def receive_large(self, payload: bytes) -> None:
        """Take a message that takes long to decode (`is_large_work`); return once its request has begun."""
        if self._input_ended:
            return
        exchange = self._enter(request_id(payload))
        if self._hold(exchange, len(payload)):
            # The thread reads on when the client gives up, and holds the message until then.
            await asyncio.shield(self._in_background(self._read(exchange, payload)))

    async def _read(self, exchange: _Exchange, payload: bytes) -> None:
        try:
            read = await run_large(read_request, payload, self._regions)
        except SlipwayError as error:
            if exchange.open:
                self._fail(GRPC_STATUS[error.code], error.message)
        except Exception as error:  # noqa: BLE001  as in `_begin`
            _LOG.exception("ModelStreamInfer failed")
            self._refuse(exchange, unforeseen(error))
        else:
            exchange.id = read.id
            if exchange.open:
                exchange.held = len(payload)
                self._begin(exchange, read)
                return
        self._in_flight.release(len(payload))

    def _enter(self, request_id: str) -> _Exchange:
        exchange = _Exchange(request_id)
        self._open[exchange] = None
        self._ordered.append(exchange)
        self._in_flight.count += 1
        return exchange

    def _hold(self, exchange: _Exchange, size: int) -> bool:
        """Take a large message from the budget and return True; otherwise refuse the request and return False."""
        try:
            self._in_flight.hold(size)
        except SlipwayError as error:
            self._refuse(exchange, error)
            return False
        return True

    def _begin(self, exchange: _Exchange, message: ReadRequest | ParsedRequest) -> None:
        try:
            self._submit(exchange, message)
        except SlipwayError as error:
            self._refuse(exchange, error)
        except Exception as error:  # noqa: BLE001  every request gets a response, even after a bug
            _LOG.exception("ModelStreamInfer failed")
            self._refuse(exchange, unforeseen(error))
        if exchange.open:  # otherwise its response did
            self._update_room()

    def end_input(self) -> None:
        """End the input, from the client's side or the server's; open requests are still answered."""
        self._input_ended = True
        self._changed.set()
        self._room.set()

    def cancel(self) -> None:
        """Cancel every open request, because nobody waits for the responses."""
        opened, self._open = self._open, {}
        for exchange, pending in opened.items():
            exchange.open = False
            self._leave(exchange)
            if pending is not None:
                pending.cancel()
        self._ordered.clear()
        self._unread.close()
        self.end_input()

    async def room(self) -> None:
        """Return when another request may be read."""
        await self._room.wait()

    async def next_answer(self) -> bytes | None:
        """Return the next message to write, or None at the end; raise `StreamFailedError` after a failure."""
        while not self._outgoing:
            if self._failure is not None:
                raise StreamFailedError(*self._failure)
            if self._input_ended and not self._open:
                return None
            self._changed.clear()
            await self._changed.wait()
        answer = self._outgoing.popleft()
        self._unread.change(-len(answer) - _ANSWER_OVERHEAD)
        self._update_room()
        return answer

    def _submit(self, exchange: _Exchange, message: ReadRequest | ParsedRequest) -> None:
        self._in_flight.refuse_if_stopping()
        name, version = message.model_name, requested_version(message.model_version)
        signature = self._dataplane.signature(name, version)
        if signature.decoupled:
            exchange.decoupled = True
            self._ordered.pop()
        try:
            decoded = message.decode(self._regions)
            if self._headers is not None:
                self._headers.add_to(decoded.request)
            if self._explains or decoded.request.explanation is not None:
                self._explain(decoded.request)
        except SlipwayError:
            self._dataplane.record_rejected(name, version)
            raise
        tracing = self._dataplane.tracing
        if tracing.active:
            exchange.trace = begin_trace(tracing, decoded.request, self._metadata)
        pending = self._dataplane.submit(decoded.request, partial(self._deliver, exchange, decoded, signature))
        if exchange.open:
            self._open[exchange] = pending

    def _explain(self, request: InferRequest) -> None:
        """Let a request be explained; raise UNAVAILABLE if it may not be."""
        if request.explanation is None and asks_for_explanations(self._metadata):
            request.explanation = Explanation()
        if request.explanation is not None:
            check_explanation(self._restrictions, self._metadata)

    def _refuse(self, exchange: _Exchange, error: SlipwayError) -> None:
        """Send the error of a request that was not executed."""
        if exchange.trace is not None:
            note_failure(exchange.trace, error)
        if self._errors_end_stream:
            self._fail(GRPC_STATUS[error.code], error.message)
        elif exchange.open:
            self._send(exchange, encode_stream_refusal(error.message, exchange.id))
            self._close(exchange)

    def _deliver(
        self, exchange: _Exchange, decoded: DecodedRequest, signature: ModelSignature, response: InferResponse
    ) -> None:
        if not exchange.open:
            return
        if exchange.unprepared is not None:
            self._queue(exchange, exchange.unprepared, response)
            return
        if response.error is None and (decoded.classes or signature.has_string_outputs):
            try:
                if is_large_answer(response, decoded.classes):
                    exchange.unprepared = deque()
                    self._queue(exchange, exchange.unprepared, response)
                    self._in_background(self._prepare(exchange, decoded, signature, exchange.unprepared))
                    return
                prepare(response, decoded.classes, signature)
            except Exception:  # noqa: BLE001  a model may return anything; the scheduler that delivers it must not fail
                response.error = unsendable(response)
        self._answer(exchange, decoded, signature, response)

    def _queue(self, exchange: _Exchange, waiting: _Unprepared, response: InferResponse) -> None:
        """Append a response to those that wait for a thread, and count it like those that wait to be written."""
        size = _ANSWER_OVERHEAD + sum(tensor.byte_size for tensor in response.outputs)
        waiting.append((response, size))
        self._unread.change(size)
        if exchange.decoupled and self._is_full and len(waiting) > 1:
            waiting.clear()
            self._fail_full()
        self._update_room()

    async def _prepare(
        self, exchange: _Exchange, decoded: DecodedRequest, signature: ModelSignature, waiting: _Unprepared
    ) -> None:
        """Prepare a large response and those that come meanwhile in a thread, and send them in order."""
        while waiting and exchange.open:
            response, size = waiting.popleft()
            try:
                if response.error is None:
                    await run_large(prepare, response, decoded.classes, signature)
            except Exception:  # noqa: BLE001  as above
                response.error = unsendable(response)
            self._unread.change(-size)
            if exchange.open:
                self._answer(exchange, decoded, signature, response)
        exchange.unprepared = None

    def _answer(
        self, exchange: _Exchange, decoded: DecodedRequest, signature: ModelSignature, response: InferResponse
    ) -> None:
        request, final = decoded.request, response.final
        answer: bytes | None
        try:
            answer = _encode(decoded, signature, response)
        except SlipwayError as error:
            if self._errors_end_stream:
                self._fail(GRPC_STATUS[error.code], error.message)
                return
            answer = encode_stream_status(request, message=error.message, final=final)
        except Exception:  # noqa: BLE001  as above
            answer = encode_stream_status(request, message=unsendable(response).message, final=final)
        if answer is not None:
            self._send(exchange, answer)
        if final and exchange.open:
            self._close(exchange)

    def _close(self, exchange: _Exchange) -> None:
        exchange.open = False
        del self._open[exchange]
        self._leave(exchange)
        self._changed.set()

    def _leave(self, exchange: _Exchange) -> None:
        if exchange.trace is not None:
            end_sending(exchange.trace)
        self._in_flight.leave()
        if exchange.held:
            self._in_flight.release(exchange.held)

    def _send(self, exchange: _Exchange, answer: bytes) -> None:
        if exchange.trace is not None:
            begin_sending(exchange.trace)
        self._unread.change(len(answer) + _ANSWER_OVERHEAD)
        if exchange.decoupled:
            self._outgoing.append(answer)
            if self._is_full and len(self._outgoing) > 1:
                self._fail_full()
        else:
            exchange.answer = answer
            while self._ordered and (ready := self._ordered[0].answer) is not None:
                self._ordered.popleft()
                self._outgoing.append(ready)
        self._update_room()
        self._changed.set()

    def _fail(self, status: int, message: str) -> None:
        """End the stream after the responses that are already waiting."""
        self._failure = status, message
        self.cancel()

    def _fail_full(self) -> None:
        """End the stream at once, because more responses wait than memory allows."""
        self._outgoing.clear()
        self._fail(RESOURCE_EXHAUSTED, "the client reads its responses too slowly: too many are waiting")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._large.add(task)
        task.add_done_callback(self._large.discard)
        return task

    @property
    def _is_full(self) -> bool:
        """Whether more responses wait than memory allows."""
        return self._unread.size > LIMIT_BYTES or self._unread.is_too_much

    def _update_room(self) -> None:
        waiting = len(self._outgoing) + len(self._ordered)
        is_much = self._unread.size > PAUSE_BYTES or self._unread.is_too_much
        if (is_much or waiting > PAUSE_ANSWERS) and not self._input_ended:
            self._room.clear()
        else:
            self._room.set()


def _encode(decoded: DecodedRequest, signature: ModelSignature, response: InferResponse) -> bytes | None:
    """Return the message for a response, or None if none is sent; raise `SlipwayError` for an error response."""
    if response.error is not None:
        raise response.error
    if response.empty:
        if not signature.decoupled:
            raise internal("received an unexpected null response")
        explanation = response.parameters.get(EXPLAIN)
        return encode_stream_status(decoded.request, explanation=explanation) if decoded.empty_final else None
    return encode_stream_response(response)
