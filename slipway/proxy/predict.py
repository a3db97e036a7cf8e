"""POST /models/NAME: read the body, ask the server, answer. The hot path of the proxy.

A plain ASGI application: FastAPI's own way to a handler (dependencies, a request object, response classes) costs more
than everything here. Does not know how tensors are written.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import orjson
from tritonclient.grpc import service_pb2

from slipway.core.budget import TOO_MUCH_HELD, Budget
from slipway.errors import SlipwayError
from slipway.proxy.asgi import (
    JSON,
    ClientGoneError,
    ClientWatch,
    Headers,
    HeldBody,
    Receive,
    Scope,
    Send,
    TooLargeError,
    TooMuchHeldError,
    answer,
    answer_early,
    read_body,
)
from slipway.proxy.body import ReadBody, RoutedModel, encode_body, read_fields
from slipway.proxy.catalog import Catalog
from slipway.proxy.document import FAILED_STATUS
from slipway.proxy.event_stream import send_events
from slipway.proxy.failures import RefusedBody, UpstreamFailure, plain_error
from slipway.proxy.head import ProxiedHead, read_head
from slipway.proxy.options import ProxyOptions
from slipway.proxy.outputs import output_values
from slipway.proxy.predict_log import PREDICT_LOG, log_input
from slipway.proxy.server_message import read_message
from slipway.proxy.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Predict:
    """The application behind the route."""

    upstream: Upstream
    catalog: Catalog
    options: ProxyOptions
    budget: Budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        head = read_head(
            scope["headers"], self.upstream.metadata, forwards_authorization=self.options.forward_authorization
        )
        headers: Headers = [JSON, (b"x-request-id", head.request_id.encode("ascii"))]
        held = HeldBody(self.budget)
        try:
            body = await _body(receive, head, self.options.max_body_bytes, held)
            await self._watched(scope["path_params"]["name"], body, head, headers, receive, send)
        except _Refused as refused:
            await answer_early(receive, send, refused.status, plain_error(refused.message), headers)
        except ClientGoneError:
            return
        finally:
            held.release()

    async def _watched(
        self, name: str, body: bytes, head: ProxiedHead, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Answer, unless the client leaves before."""
        watch = ClientWatch(receive)
        try:
            await self._answer(name, body, head, headers, send)
        except asyncio.CancelledError:
            if not watch.absorb():
                raise
        finally:
            watch.stop()

    async def _answer(self, name: str, body: bytes, head: ProxiedHead, headers: Headers, send: Send) -> None:
        document = False
        try:
            model = await self.catalog.find(name, head.metadata)
            document = model.document is not None
            call = await self._encoded(model, name, body, head)
            if model.description.is_decoupled:
                await send_events(self.upstream.stream(call.message, head.metadata), headers, send)
            else:
                await answer(send, 200, await self._outputs(model, call, head), headers)
        except RefusedBody as refusal:
            await answer(send, 422, refusal.body(len(body)), headers)
        except UpstreamFailure as failure:
            self.catalog.doubt(name, failure)
            await answer(send, FAILED_STATUS if document else failure.status, failure.body(), headers)

    async def _encoded(self, model: RoutedModel, name: str, body: bytes, head: ProxiedHead) -> ReadBody:
        """Return the call for a body; raise `RefusedBody`, but `UpstreamFailure` to those who may not know the model's
        inputs."""
        try:
            fields = read_fields(body)
            call = encode_body(model, fields, head.request_id, size=len(body))
        except RefusedBody:
            await self.upstream.admit(head.metadata)
            raise
        if PREDICT_LOG.isEnabledFor(logging.INFO):
            log_input(name, fields)
        return call

    async def _outputs(self, model: RoutedModel, call: ReadBody, head: ProxiedHead) -> bytes:
        """Return the JSON of the model's response; raise `UpstreamFailure`."""
        payload = await self.upstream.call("ModelInfer", call.message, head.metadata, repeatable=call.repeatable)
        response = read_message(service_pb2.ModelInferResponse, payload)
        try:
            values = output_values(response)
        except SlipwayError as error:
            raise UpstreamFailure.of(error) from None
        renamed = model.document.renamed if model.document is not None else {}
        if renamed:
            values = {renamed.get(name, name): value for name, value in values.items()}
        return written(values)


class _Refused(Exception):  # noqa: N818  a signal inside this module
    """A request whose body is not read."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def _body(receive: Receive, head: ProxiedHead, limit: int, held: HeldBody) -> bytes:
    if head.encoding not in (b"", b"identity"):
        raise _Refused(415, "a compressed body is not read: send it without Content-Encoding")
    try:
        return await read_body(receive, head.length, limit, held)
    except TooLargeError:
        raise _Refused(413, f"the body has more than {limit} bytes: --max-body-bytes sets the limit") from None
    except TooMuchHeldError:
        raise _Refused(503, TOO_MUCH_HELD) from None


def written(values: dict[str, Any]) -> bytes:
    """Return the JSON of the outputs. JSON does not have infinite numbers and NaN: they become null."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
