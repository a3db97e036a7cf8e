"""The access log of gRPC: one line per ended call, with client, method, status and duration.

    gRPC "ipv4:127.0.0.1:50312" "/inference.GRPCInferenceService/ModelInfer" OK 412 us

Never metadata or a message. Without `--log-access`, none of this runs. The native engine's streams come from its own
socket, so their clients are not known.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Hashable
from time import monotonic_ns
from typing import Any, Final, TypeVar

from slipway.core.pending import Pending
from slipway.errors import Code, SlipwayError
from slipway.rpc.inference import LargeCall, UnaryInference
from slipway.rpc.protection import ForwardedHeaders
from slipway.rpc.service import MODEL_INFER

Call = TypeVar("Call", bound=Hashable)

_LOG: Final = logging.getLogger("slipway.access")
_NS_PER_US: Final = 1000


def log_call(client: str, path: str, began_ns: int, status: str) -> None:
    """Log a call that began at `began_ns` (monotonic)."""
    microseconds = (monotonic_ns() - began_ns) // _NS_PER_US
    fields = {"client": client, "method": path, "status": status, "us": microseconds}
    quoted = (json.dumps(client), json.dumps(path))
    _LOG.info("gRPC %s %s %s %d us", *quoted, status, microseconds, extra={"fields": fields})


async def logged_call(answer: Awaitable[bytes], client: str, path: str) -> bytes:
    """Return the answer to a unary call, and log it."""
    began, status = monotonic_ns(), Code.INTERNAL.name  # of an exception that nobody expected
    try:
        response = await answer
        status = "OK"
    except SlipwayError as error:
        status = error.code.name
        raise
    except asyncio.CancelledError:
        status = Code.CANCELLED.name
        raise
    finally:
        log_call(client, path, began, status)
    return response


class LoggedInference(UnaryInference[Call]):
    """Answers ModelInfer calls and logs them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._began: dict[Call, tuple[int, str]] = {}

    def start(
        self, call: Call, payload: bytes, headers: ForwardedHeaders | None = None, client: object = ()
    ) -> Pending | LargeCall | None:
        """Begin answering `call`, as `UnaryInference` does."""
        self._began[call] = (monotonic_ns(), self._clients.peer(client))
        return super().start(call, payload, headers, client)

    def _answer(self, call: Call, payload: bytes, error: SlipwayError | None) -> None:
        began, client = self._began.pop(call)
        super()._answer(call, payload, error)
        log_call(client, MODEL_INFER, began, "OK" if error is None else error.code.name)


def inference_type(*, log_access: bool) -> type[UnaryInference[Any]]:
    """Return the class that answers ModelInfer calls."""
    return LoggedInference if log_access else UnaryInference
