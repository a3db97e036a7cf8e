"""The listener on the event loop itself: HTTP/2 and gRPC in `http2/`, TLS by Python's ssl module. Always available.

Without threads and queues between the socket and the call, a small call costs a third of what it costs with
pygrpc-native and a tenth of what it costs with grpcio (CPU time at 8 and 24 clients; see CHANGELOG). It does not
compress responses, and does not close connections by age.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Final

from slipway.api_keys import KEY_HEADERS, ApiKeys
from slipway.certificates import CertificateFiles, Certificates, serving_context
from slipway.config.restrictions import by_group
from slipway.engine.api import Dataplane
from slipway.errors import unavailable
from slipway.rpc.call_log import inference_type, log_call
from slipway.rpc.http2.call import Call
from slipway.rpc.http2.connection import Http2Connection
from slipway.rpc.http2.intake import Http2Limits
from slipway.rpc.http2.messages import CallRefusedError, check_coding
from slipway.rpc.in_flight import InFlight
from slipway.rpc.inference import UnaryInference
from slipway.rpc.options import GrpcOptions
from slipway.rpc.protection import HEADER_PREFIX, CallGuard, ForwardedHeaders
from slipway.rpc.receivers import InferReceiver, RpcReceiver, StreamReceiver, reply
from slipway.rpc.service import MODEL_INFER, MODEL_STREAM_INFER, Service
from slipway.rpc.status import NAMES
from slipway.rpc.stream import InferStream
from slipway.rpc.traced import Clients

_BACKLOG: Final = 2048
_HANDSHAKE_S: Final = 10.0
_SWEEP_S: Final = 5.0
_POLL_S: Final = 0.005
_SHORTEST_KEEPALIVE_MS: Final = 1  # as in grpcio; 0 would not leave the event loop a moment of rest
_UNIMPLEMENTED: Final = 12
_ERROR_METADATA: Final = ("triton_grpc_error", "true")
_CLIENTS: Final = Clients(lambda call: call.head.metadata, lambda call: call.channel.peer)


class AsyncioEngine:
    """Serves one dataplane on one port. Implements `listener.GrpcEngine` and `http2.connection.CallFront`."""

    def __init__(
        self,
        dataplane: Dataplane,
        service: Service,
        in_flight: InFlight,
        options: GrpcOptions,
        keys: ApiKeys | None = None,
    ) -> None:
        self._options = options
        self._in_flight = in_flight
        restrictions = by_group(options.grpc_restricted_protocol, HEADER_PREFIX)
        self._guard = CallGuard(keys, restrictions)
        self._pattern = options.grpc_header_forward_pattern
        if self._pattern is not None and keys is not None:
            self._pattern = self._pattern.without(KEY_HEADERS)
        self._inference: UnaryInference[Call] = inference_type(log_access=options.log_access)(
            dataplane, in_flight, reply, _CLIENTS, restrictions
        )
        self._dataplane = dataplane
        self._restrictions = restrictions
        self._service = service
        paths = (MODEL_INFER, MODEL_STREAM_INFER, *service.methods)
        self._guarded = frozenset(path for path in paths if self._guard.guards(path))
        self._streams: set[InferStream] = set()
        self._connections: set[Http2Connection] = set()
        self._limits = _limits(options)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    async def start(self, target: str) -> int:
        """Listen on the address of the options, which `target` names; return the port. Raise UNAVAILABLE on failure."""
        options = self._options
        self._loop = asyncio.get_running_loop()
        certificates = _certificates(options)
        context = None if certificates is None else serving_context(certificates)
        try:
            self._server = await self._loop.create_server(
                lambda: Http2Connection(self, self._limits, self._connections),
                options.grpc_address,
                options.grpc_port,
                backlog=_BACKLOG,
                reuse_port=options.reuse_grpc_port or None,
                ssl=context,
                ssl_handshake_timeout=None if context is None else _HANDSHAKE_S,
            )
        except OSError:
            raise unavailable(f"failed to start the gRPC service: cannot bind to {target}") from None
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def end_streams(self) -> None:
        """End every stream as soon as its open requests are answered."""
        for stream in list(self._streams):
            stream.end_input()

    async def stop(self, grace_s: float) -> None:
        """Close the port; open calls may finish within `grace_s` seconds, then their connections are closed."""
        if self._server is None:
            return
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        deadline = self._loop.time() + grace_s
        for connection in list(self._connections):
            connection.drain()
        while self._connections and self._loop.time() < deadline:  # noqa: ASYNC110  connections have no event for it
            await asyncio.sleep(_POLL_S)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)
        self._server = None

    def _sweep(self) -> None:
        for connection in list(self._connections):
            connection.sweep(_SWEEP_S)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    # CallFront

    def begin(self, call: Call) -> None:
        """Give a call its receiver, or end it."""
        path = call.head.path
        if path in self._guarded:
            refusal = self._guard.refusal(path, call.head.metadata)
            if refusal is not None:
                if self._options.log_access:
                    log_call(call.channel.peer, path, monotonic_ns(), NAMES[refusal.status])
                call.channel.end(call, refusal.status, refusal.text)
                return
        try:
            check_coding(call.head.coding)
        except CallRefusedError as fault:
            call.channel.end(call, fault.status, fault.message)
            return
        if path == MODEL_INFER:
            call.receiver = InferReceiver(call, self._inference, self._forwarded(call), self._limits.max_message)
        elif path in self._service.methods:
            call.receiver = RpcReceiver(call, self._service, self._limits.max_message, log=self._options.log_access)
        elif path == MODEL_STREAM_INFER:
            self._begin_stream(call)
        else:
            call.channel.end(call, _UNIMPLEMENTED, "Method not found!")

    def _begin_stream(self, call: Call) -> None:
        metadata = call.head.metadata
        stream = InferStream(
            self._dataplane,
            self._in_flight,
            errors_end_stream=_ERROR_METADATA in metadata,
            headers=self._forwarded(call),
            metadata=metadata,
            restrictions=self._restrictions,
            plans=self._inference.plans,
        )

        self._streams.add(stream)
        ended = partial(self._streams.discard, stream)
        log = self._options.log_access
        call.receiver = StreamReceiver(call, stream, self._limits.max_message, log=log, ended=ended)

    def hold(self, size: int) -> None:
        """Take the bytes of a message that arrives, or waits for its client, from the budget; raise UNAVAILABLE if that
        is spent."""
        self._in_flight.hold(size)

    def release(self, size: int) -> None:
        """Give them back."""
        self._in_flight.release(size)

    def _forwarded(self, call: Call) -> ForwardedHeaders | None:
        return None if self._pattern is None else ForwardedHeaders.of(self._pattern, call.head.metadata)


def _limits(options: GrpcOptions) -> Http2Limits:
    return Http2Limits(
        max_message=options.max_message_bytes,
        keepalive_s=max(options.grpc_keepalive_time, _SHORTEST_KEEPALIVE_MS) / 1000,
        keepalive_timeout_s=options.grpc_keepalive_timeout / 1000,
        keepalive_without_calls=options.grpc_keepalive_permit_without_calls,
        ping_strikes=options.grpc_http2_max_ping_strikes,
        ping_interval_s=options.grpc_http2_min_recv_ping_interval_without_data / 1000,
    )


def _certificates(options: GrpcOptions) -> Certificates | None:
    """Return the certificates, which follow changes of their files; None for a port without TLS."""
    if not (options.grpc_use_ssl or options.grpc_use_ssl_mutual):
        return None
    root = Path(options.grpc_root_cert) if options.grpc_root_cert else None
    files = CertificateFiles(Path(options.grpc_server_cert), Path(options.grpc_server_key), root)
    return Certificates(files, "gRPC", protocol="h2", verifies=options.grpc_use_ssl_mutual)
