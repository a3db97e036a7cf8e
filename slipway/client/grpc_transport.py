"""Calls over gRPC, for threads and for asyncio, on grpcio's two interfaces. Messages are bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from math import isinf
from typing import Any

from slipway.client.endpoint import Endpoint
from slipway.client.messages import Incoming, Outgoing
from slipway.client.transport import CHANNEL_OPTIONS, CLOSED, rpc_error
from slipway.errors import unavailable


class GrpcTransport:
    """Implements `Transport`. gRPC's channel is thread-safe, and connects when it is first used."""

    def __init__(self, endpoint: Endpoint, credentials: Any) -> None:
        import grpc

        self._endpoint = endpoint
        self._metadata = _metadata(endpoint)
        self._error = grpc.RpcError
        self._channel: Any = (
            grpc.insecure_channel(str(endpoint), CHANNEL_OPTIONS)
            if credentials is None
            else grpc.secure_channel(str(endpoint), credentials, CHANNEL_OPTIONS)
        )
        self._methods: dict[str, Any] = {}

    def send(self, outgoing: Outgoing, timeout: float) -> Incoming:
        """Return the response message."""
        method = self._methods.get(outgoing.target)
        if method is None:
            method = self._methods[outgoing.target] = self._open().unary_unary(outgoing.target)
        try:
            return Incoming(method(outgoing.body, timeout=timeout, metadata=self._metadata))
        except self._error as error:
            raise rpc_error(self._endpoint, error.code().name, error.details(), timeout) from None
        except ValueError:  # the channel is closed
            raise unavailable(CLOSED) from None

    def stream(self, outgoing: Outgoing, timeout: float) -> Generator[Incoming, None, None]:
        """Yield the response messages to one request message."""
        seconds = None if isinf(timeout) else timeout
        method = self._open().stream_stream(outgoing.target)
        call = method(iter([outgoing.body]), timeout=seconds, metadata=self._metadata)
        try:
            for message in call:
                yield Incoming(message)
        except self._error as error:
            raise rpc_error(self._endpoint, error.code().name, error.details(), timeout) from None
        finally:
            call.cancel()

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _open(self) -> Any:
        if self._channel is None:
            raise unavailable(CLOSED)
        return self._channel


class AsyncGrpcTransport:
    """Implements `AsyncTransport`; belongs to the event loop that it is made on."""

    def __init__(self, endpoint: Endpoint, credentials: Any) -> None:
        import grpc.aio

        self._endpoint = endpoint
        self._metadata = _metadata(endpoint)
        self._error = grpc.aio.AioRpcError
        self._channel: Any = (
            grpc.aio.insecure_channel(str(endpoint), CHANNEL_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(str(endpoint), credentials, CHANNEL_OPTIONS)
        )
        self._methods: dict[str, Any] = {}

    async def send(self, outgoing: Outgoing, timeout: float) -> Incoming:  # noqa: ASYNC109  gRPC passes it on
        """Return the response message."""
        method = self._methods.get(outgoing.target)
        if method is None:
            method = self._methods[outgoing.target] = self._open().unary_unary(outgoing.target)
        try:
            return Incoming(await method(outgoing.body, timeout=timeout, metadata=self._metadata))
        except self._error as error:
            raise rpc_error(self._endpoint, error.code().name, error.details(), timeout) from None

    async def stream(self, outgoing: Outgoing, timeout: float) -> AsyncGenerator[Incoming, None]:  # noqa: ASYNC109
        """Yield the response messages to one request message."""
        seconds = None if isinf(timeout) else timeout
        method = self._open().stream_stream(outgoing.target)
        call = method(iter([outgoing.body]), timeout=seconds, metadata=self._metadata)
        try:
            async for message in call:
                yield Incoming(message)
        except self._error as error:
            raise rpc_error(self._endpoint, error.code().name, error.details(), timeout) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the channel; calls under way fail."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            self._methods.clear()
            await channel.close()

    def _open(self) -> Any:
        if self._channel is None:
            raise unavailable(CLOSED)
        return self._channel


def _metadata(endpoint: Endpoint) -> list[tuple[str, str | bytes]]:
    """Return the headers as gRPC wants them: the values of names that end with -bin are bytes."""
    names = ((name.lower(), value) for name, value in endpoint.headers)
    return [(name, value.encode() if name.endswith("-bin") else value) for name, value in names]
