"""The seam between a client and what carries its calls, and what all carriers say about failures."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Final, Protocol

from slipway.client.endpoint import Endpoint
from slipway.client.grpc_codec import STATUS_CODES
from slipway.client.messages import Incoming, Outgoing
from slipway.errors import Code, SlipwayError, unavailable

CLOSED: Final = "the client is closed"
CUT_OFF: Final = "the stream ended before its last response"

_LARGEST: Final = 2**31 - 1  # bytes of a message
CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", _LARGEST),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Transport(Protocol):
    """Carries calls for threads. Raises `SlipwayError`: UNAVAILABLE if no answer comes, for gRPC also the server's."""

    def send(self, outgoing: Outgoing, timeout: float) -> Incoming:
        """Return the answer of a call, which comes within `timeout` seconds."""

    def stream(self, outgoing: Outgoing, timeout: float) -> Generator[Incoming, None, None]:
        """Yield the answers of a call as they come, the last within `timeout` seconds (infinity: no limit)."""

    def close(self) -> None:
        """Close every connection."""


class AsyncTransport(Protocol):
    """The same for asyncio."""

    async def send(self, outgoing: Outgoing, timeout: float) -> Incoming:  # noqa: ASYNC109  gRPC passes it on
        """Return the answer of a call."""

    def stream(self, outgoing: Outgoing, timeout: float) -> AsyncGenerator[Incoming, None]:
        """Yield the answers of a call."""

    async def close(self) -> None:
        """Close every connection."""


def late(endpoint: Endpoint, seconds: float) -> SlipwayError:
    """Return the error for an answer that did not come in time."""
    return unavailable(f"{endpoint} does not answer within {seconds:.3g} s")


def failed(endpoint: Endpoint, error: Exception) -> SlipwayError:
    """Return the error for a connection that failed."""
    return unavailable(f"the connection to {endpoint} failed: {str(error) or type(error).__name__}")


def rpc_error(endpoint: Endpoint, status: str, details: str, seconds: float) -> SlipwayError:
    """Return the error of a gRPC call by the name of its status."""
    if status == "DEADLINE_EXCEEDED":
        return late(endpoint, seconds)
    code = STATUS_CODES.get(status, Code.INVALID_ARG)
    text = details or status
    if code is Code.UNAVAILABLE and "connect" in text.lower():  # gRPC's own words hide the address among others
        return unavailable(f"no server answers at {endpoint}: {text}")
    return SlipwayError(code, text)
