"""ModelInfer: decode, submit, answer. The hot path of gRPC, shared by both engines. Does not know sockets.

An engine provides the function `reply(call, payload, error)`, where `call` is the engine's own handle to the client.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Hashable, Mapping
from functools import partial
from time import monotonic_ns
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from slipway.config.restrictions import Restrictions
from slipway.core.large_work import LARGE, run_large
from slipway.core.pending import Pending
from slipway.core.repeats import Repeat, Repeats
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.version import requested_version
from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError, cancelled, internal, unforeseen, unsupported
from slipway.rpc.in_flight import InFlight
from slipway.rpc.protection import ForwardedHeaders, check_explanation
from slipway.rpc.traced import UNKNOWN, Clients, begin_trace, note_failure, note_sent
from slipway.tracing.trace import RequestTrace
from slipway.wire.protobuf_plans import ParsedRequest, RequestPlans
from slipway.wire.protobuf_request import ReadRequest, is_large_work, read_request
from slipway.wire.protobuf_response import encode_response, is_large_answer, prepare

Call = TypeVar("Call", bound=Hashable)
Reply = Callable[[Call, bytes, SlipwayError | None], None]
Keep = Callable[[Callable[[], bool], bytes], None]  # keeps an encoded response, see `core/repeats.py`

_LOG: Final = logging.getLogger("slipway.rpc")


class LargeCall:
    """A call whose message is being decoded in a thread: what the engine cancels until there is a pending request."""

    __slots__ = ("cancelled", "pending")

    def __init__(self) -> None:
        self.cancelled = False
        self.pending: Pending | None = None

    def check(self) -> None:
        """Raise CANCELLED if the client gave up while its message was being decoded."""
        if self.cancelled:
            raise cancelled()

    def cancel(self) -> None:
        """Drop the call as soon as its message has been decoded, or cancel its request."""
        self.cancelled = True
        if self.pending is not None:
            self.pending.cancel()


class UnaryInference(Generic[Call]):
    """Answers ModelInfer calls on a dataplane."""

    def __init__(
        self,
        dataplane: Dataplane,
        in_flight: InFlight,
        reply: Reply[Call],
        clients: Clients = UNKNOWN,
        restrictions: Restrictions = MappingProxyType({}),
    ) -> None:
        self._dataplane = dataplane
        self._regions = dataplane.regions
        self._clients = clients
        self._restrictions = restrictions
        self._in_flight = in_flight
        self._reply = reply
        self.plans = RequestPlans()  # those of streams too
        self._held: dict[Call, int] = {}  # bytes of large messages that are being answered
        self._traces: dict[Call, RequestTrace] = {}
        self._large: set[asyncio.Task[None]] = set()  # large messages and responses in threads
        self._repeats = None if dataplane.cache_report() is None else Repeats[tuple[str, str]]()

    def start(
        self, call: Call, payload: bytes, headers: ForwardedHeaders | None = None, client: object = ()
    ) -> Pending | LargeCall | None:
        """Begin answering `call`; `reply` is called exactly once, possibly before this returns (then None).

        Otherwise return the pending request, so that the engine can cancel it. `client` is the engine's handle.
        """
        in_flight = self._in_flight
        in_flight.count += 1
        if len(payload) > LARGE:
            try:
                in_flight.hold(len(payload))
            except SlipwayError as error:
                self._answer(call, b"", error)
                return None
            self._held[call] = len(payload)
            if is_large_work(payload):
                large = LargeCall()
                self._in_background(self._start_large(call, payload, large, headers, client))
                return large
        try:
            in_flight.refuse_if_stopping()
            if self._repeats is not None and headers is None and self._answered_again(self._repeats, call, payload):
                return None
            pending = self._submit(call, self.plans.parse(payload), headers, client, payload)
        except SlipwayError as error:
            self._answer(call, b"", error)
            return None
        except Exception as error:  # noqa: BLE001  every call gets a response, even after a bug
            _LOG.exception("ModelInfer failed")
            self._answer(call, b"", unforeseen(error))
            return None
        return None if pending.finished else pending

    async def _start_large(
        self, call: Call, payload: bytes, large: LargeCall, headers: ForwardedHeaders | None, client: object
    ) -> None:
        try:
            self._in_flight.refuse_if_stopping()
            read = await run_large(read_request, payload, self._regions)
            del payload
            large.check()
            large.pending = self._submit(call, read, headers, client)
        except SlipwayError as error:
            self._answer(call, b"", error)
        except Exception as error:  # noqa: BLE001  as above
            _LOG.exception("ModelInfer failed")
            self._answer(call, b"", unforeseen(error))

    def _submit(
        self,
        call: Call,
        message: ReadRequest | ParsedRequest,
        headers: ForwardedHeaders | None,
        client: object,
        payload: bytes = b"",
    ) -> Pending:
        """Submit the request in a message. `payload` is the message, if its response may be kept."""
        name, version = message.model_name, requested_version(message.model_version)
        signature = self._dataplane.signature(name, version)
        if signature.decoupled:
            raise unsupported("ModelInfer RPC doesn't support models with decoupled transaction policy")
        try:
            decoded = message.decode(self._regions)
            if headers is not None:
                headers.add_to(decoded.request)
        except SlipwayError:
            self._dataplane.record_rejected(name, version)
            raise
        if decoded.request.explanation is not None:
            self._check_explanation(name, version, client)
        keep = None
        if payload and self._repeats is not None and headers is None and type(decoded.request) is InferRequest:
            keep = partial(_keep, self._repeats, payload, (name, version), signature)
        if decoded.classes or signature.has_string_outputs:
            deliver = partial(self._deliver_prepared, call, keep, decoded.classes, signature)
        else:
            deliver = partial(self._deliver, call, keep)
        tracing = self._dataplane.tracing
        if tracing.active:
            metadata = self._clients.metadata(client) if tracing.has_context else ()
            trace = begin_trace(tracing, decoded.request, metadata)
            if trace is not None:
                self._traces[call] = trace
        return self._dataplane.submit(decoded.request, deliver)

    def _answered_again(self, repeats: Repeats[tuple[str, str]], call: Call, payload: bytes) -> bool:
        """Answer a message whose bytes got a response from the response cache before; return whether that was
        possible."""
        plane, kept = self._dataplane, repeats.find(payload)
        if kept is None or plane.tracing.active or plane.log_settings.verbose:
            return False
        name, version = kept.head
        if plane.signature(name, version) is not kept.signature or not kept.again():
            return False
        self._answer(call, kept.parts[0], None)
        return True

    def _check_explanation(self, name: str, version: str, client: object) -> None:
        if not self._restrictions:
            return
        try:
            check_explanation(self._restrictions, self._clients.metadata(client))
        except SlipwayError:
            self._dataplane.record_rejected(name, version)
            raise

    def _deliver_prepared(
        self,
        call: Call,
        keep: Keep | None,
        classes: Mapping[str, int],
        signature: ModelSignature,
        response: InferResponse,
    ) -> None:
        if response.error is None:
            try:
                if is_large_answer(response, classes):
                    self._in_background(self._deliver_large(call, classes, signature, response))
                    return
                prepare(response, classes, signature)
            except Exception:  # noqa: BLE001  a model may return anything
                response.error = unsendable(response)
        self._deliver(call, keep, response)

    async def _deliver_large(
        self, call: Call, classes: Mapping[str, int], signature: ModelSignature, response: InferResponse
    ) -> None:
        try:
            await run_large(prepare, response, classes, signature)
        except Exception:  # noqa: BLE001  as above
            response.error = unsendable(response)
        self._deliver(call, None, response)

    def _deliver(self, call: Call, keep: Keep | None, response: InferResponse) -> None:
        if response.error is not None:
            self._answer(call, b"", response.error)
            return
        try:
            payload = _encode(response)
        except SlipwayError as error:
            self._answer(call, b"", error)
        except Exception:  # noqa: BLE001  a model may return anything; the scheduler that delivers it must not fail
            self._answer(call, b"", unsendable(response))
        else:
            self._answer(call, payload, None)
            if keep is not None and response.again is not None:
                keep(response.again, payload)

    def _answer(self, call: Call, payload: bytes, error: SlipwayError | None) -> None:
        self._in_flight.leave()
        if self._held:
            self._in_flight.release(self._held.pop(call, 0))
        trace = self._traces.pop(call, None) if self._traces else None
        if trace is None:
            self._reply(call, payload, error)
            return
        if error is not None:
            note_failure(trace, error)
        begin_ns = monotonic_ns()
        self._reply(call, payload, error)
        note_sent(trace, begin_ns)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._large.add(task)
        task.add_done_callback(self._large.discard)


def unsendable(response: InferResponse) -> SlipwayError:
    """Log the exception that is being handled, which preparing or encoding a response raised; return the error that
    the client gets instead."""
    _LOG.exception("the response of model '%s' cannot be sent", response.model_name)
    error = sys.exception()
    return unforeseen(error) if isinstance(error, MemoryError) else internal("the response cannot be encoded")


def _keep(
    repeats: Repeats[tuple[str, str]],
    asked: bytes,
    named: tuple[str, str],
    signature: ModelSignature,
    again: Callable[[], bool],
    answer: bytes,
) -> None:
    repeats.keep(asked, Repeat(named, signature, again, (answer,)))


def _encode(response: InferResponse) -> bytes:
    if response.empty:
        raise internal("received an unexpected null response")
    return encode_response(response)
