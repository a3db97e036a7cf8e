"""ModelInfer: decode, submit, answer. The hot path of gRPC, shared by both engines. Does not know sockets.

An engine provides the function `reply(call, payload, error)`, where `call` is the engine's own handle to the client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.version import requested_version
from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError, internal, unsupported
from slipway.rpc.in_flight import InFlight
from slipway.wire.classification import classify
from slipway.wire.protobuf_request import DecodedRequest, decode_request, parse_request
from slipway.wire.protobuf_response import encode_response

Call = TypeVar("Call")
Reply = Callable[[Call, bytes, SlipwayError | None], None]

_LOG: Final = logging.getLogger("slipway.rpc")


class UnaryInference(Generic[Call]):
    """Answers ModelInfer calls on a dataplane."""

    def __init__(self, dataplane: Dataplane, in_flight: InFlight, reply: Reply[Call]) -> None:
        self._dataplane = dataplane
        self._in_flight = in_flight
        self._reply = reply

    def start(self, call: Call, payload: bytes) -> Pending | None:
        """Begin answering `call`; `reply` is called exactly once, possibly before this returns (then None).

        Otherwise return the pending request, so that the engine can cancel it.
        """
        in_flight = self._in_flight
        in_flight.count += 1
        try:
            pending = self._submit(call, payload)
        except SlipwayError as error:
            self._answer(call, b"", error)
            return None
        except Exception:  # noqa: BLE001  every call gets a response, even after a bug
            _LOG.exception("ModelInfer failed")
            self._answer(call, b"", internal("internal error"))
            return None
        return None if pending.finished else pending

    def _submit(self, call: Call, payload: bytes) -> Pending:
        if self._in_flight.stopping:
            raise self._in_flight.refusal()
        message, raws = parse_request(payload)
        name, version = message.model_name, requested_version(message.model_version)
        signature = self._dataplane.signature(name, version)
        if signature.decoupled:
            raise unsupported("ModelInfer RPC doesn't support models with decoupled transaction policy")
        try:
            decoded = decode_request(message, raws)
        except SlipwayError:
            self._dataplane.record_rejected(name, version)
            raise
        if decoded.classes:
            deliver = partial(self._deliver_classified, call, decoded, signature)
        else:
            deliver = partial(self._deliver, call)
        return self._dataplane.submit(decoded.request, deliver)

    def _deliver(self, call: Call, response: InferResponse) -> None:
        if response.error is not None:
            self._answer(call, b"", response.error)
            return
        try:
            payload = _encode(response)
        except SlipwayError as error:
            self._answer(call, b"", error)
        except Exception:  # noqa: BLE001  a model may return anything; the scheduler that delivers it must not fail
            _LOG.exception("the response of model '%s' cannot be sent", response.model_name)
            self._answer(call, b"", internal("the response cannot be encoded"))
        else:
            self._answer(call, payload, None)

    def _deliver_classified(
        self, call: Call, decoded: DecodedRequest, signature: ModelSignature, response: InferResponse
    ) -> None:
        try:
            classify_outputs(response, decoded.classes, signature)
        except SlipwayError as error:
            response.error = error
        self._deliver(call, response)

    def _answer(self, call: Call, payload: bytes, error: SlipwayError | None) -> None:
        self._in_flight.leave()
        self._reply(call, payload, error)


def _encode(response: InferResponse) -> bytes:
    if response.empty:
        raise internal("received an unexpected null response")
    return encode_response(response)


def classify_outputs(response: InferResponse, classes: dict[str, int], signature: ModelSignature) -> None:
    """Replace each output that was requested as classification; raise `SlipwayError` if it cannot be classified."""
    batched = signature.max_batch_size > 0
    response.outputs = [
        classify(tensor, classes[tensor.name], signature.outputs[tensor.name].labels, batched=batched)
        if tensor.name in classes
        else tensor
        for tensor in response.outputs
    ]
