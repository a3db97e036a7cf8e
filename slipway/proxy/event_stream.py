"""The responses of a decoupled model as server-sent events, one as soon as it arrives.

Source: WHATWG HTML, "server-sent events". JSON does not contain line breaks, so each event is one `data` line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final, cast

import orjson
from tritonclient.grpc import service_pb2

from slipway.errors import SlipwayError
from slipway.proxy.asgi import Headers, Send
from slipway.proxy.failures import UpstreamFailure
from slipway.proxy.outputs import output_values
from slipway.proxy.server_message import read_message

_EVENTS: Final = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


async def send_events(messages: AsyncIterator[bytes], headers: Headers, send: Send) -> None:
    """Send the responses in `messages`; a failure before the first one is raised, a later one is the last event."""
    begun = False

    async def write(data: bytes, *, more: bool = True) -> None:
        nonlocal begun
        if not begun:
            begun = True
            kept = [pair for pair in headers if pair[0] != b"content-type"]
            await send({"type": "http.response.start", "status": 200, "headers": [*_EVENTS, *kept]})
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async with aclosing(cast("Any", messages)):  # an async generator: closing it cancels the call
        try:
            async for message in messages:
                values = _values(message)
                if values:
                    await write(b"data: " + orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n\n")
        except UpstreamFailure as failure:
            if not begun:
                raise
            await write(b"event: error\ndata: " + failure.body() + b"\n\n")
    await write(b"", more=False)


def _values(message: bytes) -> dict[str, Any]:
    """Return the outputs of one response; raise `UpstreamFailure` for one that is an error."""
    response = read_message(service_pb2.ModelStreamInferResponse, message)
    if response.error_message:
        raise UpstreamFailure("UNKNOWN", response.error_message)
    try:
        return output_values(response.infer_response)
    except SlipwayError as error:
        raise UpstreamFailure.of(error) from None
