"""The server behind the proxy: one gRPC channel that all requests share, with deadlines and retries.

Messages go in and come out as bytes; what they mean is read elsewhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from slipway.api_keys import read_key_file
from slipway.proxy.failures import UpstreamFailure
from slipway.proxy.head import Metadata
from slipway.proxy.options import ProxyOptions
from slipway.proxy.retrying import RetryBudget, pause

_SERVICE: Final = "/inference.GRPCInferenceService/"
_STREAM: Final = f"{_SERVICE}ModelStreamInfer"
_LARGEST: Final = 2**31 - 1  # bytes of a message
_CHANNEL: Final = (
    ("grpc.max_send_message_length", _LARGEST),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),  # the server is the one that was named, whatever the environment says
)
# With it, both servers end a stream with the status of an error instead of sending its text alone.
_STATUS_OF_STREAM: Final = ("triton_grpc_error", "true")


class Upstream:
    """Calls to the server. `metadata` belongs to every call that is not made for a client with its own."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._budget = RetryBudget()
        self._methods: dict[str, Any] = {}
        self._channel: Any = None
        self._failure: Any = None
        self.metadata = _metadata_of(options.key)

    def open(self) -> None:
        """Make the channel, which connects when the first call is made; a loop has to run."""
        import grpc.aio

        options = self._options
        self._failure = grpc.aio.AioRpcError
        if options.is_encrypted:
            self._channel = grpc.aio.secure_channel(options.target, _credentials(options), _CHANNEL)
        else:
            self._channel = grpc.aio.insecure_channel(options.target, _CHANNEL)
        self._stream = self._channel.unary_stream(_STREAM)  # a stream of one request

    async def close(self) -> None:
        """Close the channel; calls that are under way are cancelled."""
        await self._channel.close()

    async def call(
        self, name: str, request: bytes, metadata: Metadata, *, limit_s: float = 0.0, repeatable: bool = True
    ) -> bytes:
        """Return the response to a call of the method `name`; raise `UpstreamFailure`. The call is cancelled with the
        task, and after `limit_s` seconds if they are given. One that is not `repeatable` is made once, because it may
        have had an effect."""
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._channel.unary_unary(_SERVICE + name)
        seconds = limit_s or self._options.timeout_secs
        deadline = asyncio.get_running_loop().time() + seconds
        attempt = 0
        while True:
            try:
                response: bytes = await method(request, timeout=seconds, metadata=metadata)
            except self._failure as error:
                failure = _failure_of(error)
            else:
                self._budget.succeed()
                return response
            if failure.code != "UNAVAILABLE" or not self._budget.fail():
                raise failure
            wait = pause(attempt, random.random())  # noqa: S311  spreads retries
            seconds = deadline - asyncio.get_running_loop().time() - wait
            if not repeatable or attempt == self._options.retries or seconds <= 0:
                raise failure
            attempt += 1
            await asyncio.sleep(wait)

    def renew_key(self) -> None:
        """Read the file with the proxy's key again, if there is one: it may have been replaced. Raise `ValueError`,
        without the key, if it cannot be used; the former key is kept then."""
        if self._options.key_file:
            self.metadata = _metadata_of(read_key_file(Path(self._options.key_file))[0])

    async def admit(self, metadata: Metadata) -> None:
        """Raise `UpstreamFailure` if each client needs a key and the server does not answer calls with this metadata:
        what the proxy itself knows of the models is only for those who could ask the server."""
        if self._options.forward_authorization:
            await self.call("ServerMetadata", b"", metadata)

    async def stream(self, request: bytes, metadata: Metadata) -> AsyncIterator[bytes]:
        """Yield the messages of a stream with one request; raise `UpstreamFailure`, also if the next message does not
        come in time. Close the iterator to cancel the call."""
        call = self._stream(request, metadata=(*metadata, _STATUS_OF_STREAM))
        seconds = self._options.timeout_secs
        try:
            messages = call.__aiter__()
            while True:
                try:
                    async with asyncio.timeout(seconds):
                        message = await anext(messages, None)
                except self._failure as error:
                    raise _failure_of(error) from None
                except TimeoutError:
                    details = f"no response for {seconds:g} seconds"
                    raise UpstreamFailure("DEADLINE_EXCEEDED", details) from None
                if message is None:
                    return
                yield message
        finally:
            call.cancel()


def _metadata_of(key: str) -> Metadata:
    return (("authorization", f"Bearer {key}"),) if key else ()


def _failure_of(error: Any) -> UpstreamFailure:
    return UpstreamFailure(error.code().name, error.details() or error.code().name)


def _credentials(options: ProxyOptions) -> Any:
    import grpc

    files = (options.ca_certificate, options.client_key, options.client_certificate)
    return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))
