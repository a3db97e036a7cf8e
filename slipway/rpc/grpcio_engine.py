"""The listener on grpcio's asyncio server: every RPC, TLS, compression. Always available.

Messages pass through as bytes; inference.py, stream.py and service.py decide what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

from slipway.api_keys import KEY_HEADERS, ApiKeys
from slipway.certificates import CertificateFiles, Certificates
from slipway.config.restrictions import by_group
from slipway.core.large_work import LARGE
from slipway.engine.api import Dataplane
from slipway.errors import Code, SlipwayError, unavailable
from slipway.rpc.call_log import inference_type, log_call, logged_call
from slipway.rpc.in_flight import InFlight
from slipway.rpc.inference import UnaryInference
from slipway.rpc.options import COMPRESSION_LEVELS, NO_AGE_LIMIT, GrpcOptions
from slipway.rpc.protection import HEADER_PREFIX, CallGuard, ForwardedHeaders
from slipway.rpc.service import MODEL_INFER, MODEL_STREAM_INFER, Service
from slipway.rpc.status import GRPC_STATUS, NAMES, status_text
from slipway.rpc.stream import InferStream, StreamFailedError
from slipway.rpc.traced import Clients, Metadata
from slipway.wire.protobuf_request import is_large_work
from slipway.wire.protobuf_response import MAX_MESSAGE_BYTES

MAX_STREAMS: Final = 512  # per connection; clients queue further calls
# Calls that wait to be taken up, of all connections, also of those that are closed by now; about 10 KB each. grpcio
# ends any further call with CANCELLED, whoever made it. Floods of three connections were seen to reach 10 000.
MAX_WAITING_CALLS: Final = 30_000
# Without these, grpcio takes every call of a client that resets its calls at once ("rapid reset"), and drops calls of
# all clients at random while more than 1000 wait for the event loop: 3 of 40 calls of another client were answered.
_ABUSE_LIMITS: Final = [
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.http2.max_deallocating_streams", MAX_STREAMS),  # those that were reset, until they are forgotten
    ("grpc.http2.ping_on_rst_stream_percent", 100),  # a client that resets calls has to answer pings meanwhile
    ("grpc.server.max_pending_requests", MAX_WAITING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_WAITING_CALLS),
]

Behaviour = Callable[[Any, Any], Awaitable[Any]]  # of a method: (request, context) -> response

_ERROR_METADATA: Final = ("triton_grpc_error", "true")


class _Call:
    """One ModelInfer call. The future exists only if the response does not come at once.

    An error is stored as status and message: the exception's traceback would form a reference cycle with this call
    and keep the request alive.
    """

    __slots__ = ("answered", "message", "payload", "status", "waiter")

    def __init__(self) -> None:
        self.payload = b""
        self.status = 0
        self.message = ""
        self.answered = False
        self.waiter: asyncio.Future[None] | None = None


def _reply(call: _Call, payload: bytes, error: SlipwayError | None) -> None:
    call.payload, call.answered = payload, True
    if error is not None:
        call.status, call.message = GRPC_STATUS[error.code], status_text(error.message)
    if call.waiter is not None and not call.waiter.done():
        call.waiter.set_result(None)


class GrpcioEngine:
    """A grpc.aio server on one address."""

    def __init__(
        self,
        dataplane: Dataplane,
        service: Service,
        in_flight: InFlight,
        options: GrpcOptions,
        keys: ApiKeys | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._service = service
        self._in_flight = in_flight
        self._options = options
        self._restrictions = by_group(options.grpc_restricted_protocol, HEADER_PREFIX)
        self._guard = CallGuard(keys, self._restrictions)
        self._pattern = options.grpc_header_forward_pattern
        if self._pattern is not None and keys is not None:
            self._pattern = self._pattern.without(KEY_HEADERS)
        self._inference: UnaryInference[_Call] = inference_type(log_access=options.log_access)(
            dataplane, in_flight, _reply, _CLIENTS, self._restrictions
        )
        self._streams: set[InferStream] = set()
        self._codes: dict[int, Any] = {}  # grpc.StatusCode by number
        self._server: Any = None

    async def start(self, target: str) -> int:
        """Listen on `target` ("host:port" or "unix:path"); return the port (unix: 1). Raise UNAVAILABLE on failure."""
        import grpc

        self._codes = {code.value[0]: code for code in grpc.StatusCode}
        arguments = _channel_arguments(self._options)
        if not target.startswith("unix:"):  # there, all streams of the native engine come in one connection
            arguments += _ABUSE_LIMITS
        self._server = grpc.aio.server(options=arguments)
        self._server.add_generic_rpc_handlers(self._handlers())
        try:
            credentials = _credentials(self._options)
            if credentials is None or target.startswith("unix:"):
                port: int = self._server.add_insecure_port(target)
            else:
                port = self._server.add_secure_port(target, credentials)
        except RuntimeError:
            raise unavailable(f"failed to start the gRPC service: cannot bind to {target}") from None
        await self._server.start()
        return port

    @property
    def open_streams(self) -> int:
        """The number of streams that have not ended."""
        return len(self._streams)

    def end_streams(self) -> None:
        """End every stream as soon as its open requests are answered."""
        for stream in self._streams:
            stream.end_input()

    async def stop(self, grace_s: float) -> None:
        """Close the port, wait for open calls up to `grace_s` seconds, then cancel them."""
        await self._server.stop(grace_s)

    def _handlers(self) -> list[Any]:
        import grpc

        rows: dict[str, dict[str, Any]] = {}
        for path in self._service.methods:
            _add(rows, path, grpc.unary_unary_rpc_method_handler(self._guarded(path, self._cold(path))))
        infer = self._guarded(MODEL_INFER, self._model_infer)
        _add(rows, MODEL_INFER, grpc.unary_unary_rpc_method_handler(infer))
        stream = self._guarded(MODEL_STREAM_INFER, self._model_stream_infer)
        _add(rows, MODEL_STREAM_INFER, grpc.stream_stream_rpc_method_handler(stream))
        return [grpc.method_handlers_generic_handler(service, methods) for service, methods in rows.items()]

    def _guarded(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Return what answers the calls of a method: `behaviour`, after a look at the keys if some are needed."""
        if not self._guard.guards(path):
            return behaviour

        async def guarded(payload: Any, context: Any) -> Any:
            refusal = self._guard.refusal(path, context.invocation_metadata() or ())
            if refusal is None:
                answer = behaviour(payload, context)
                del payload  # as in `_model_infer`
                return await answer
            del payload
            if self._options.log_access:
                log_call(context.peer(), path, monotonic_ns(), NAMES[refusal.status])
            return await context.abort(self._codes[refusal.status], refusal.text)

        return guarded

    def _cold(self, path: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def call(payload: bytes, context: Any) -> bytes:
            answer: Awaitable[bytes] = self._service.call(path, payload)
            if self._options.log_access:
                answer = logged_call(answer, context.peer(), path)
            del payload  # as in `_model_infer`
            try:
                return await answer
            except SlipwayError as error:
                await context.abort(self._codes[GRPC_STATUS[error.code]], status_text(error.message))
                raise  # not reached: `abort` always raises

        return call

    def _forwarded(self, context: Any) -> ForwardedHeaders | None:
        if self._pattern is None:
            return None
        return ForwardedHeaders.of(self._pattern, context.invocation_metadata() or ())

    async def _model_infer(self, payload: bytes, context: Any) -> bytes:
        call = _Call()
        pending = self._inference.start(call, payload, self._forwarded(context), context)
        del payload  # grpcio's abort leaves a reference cycle through this frame, which would keep the request alive
        if not call.answered:
            call.waiter = asyncio.get_running_loop().create_future()
            try:
                await call.waiter
            except asyncio.CancelledError:  # the client disconnected or its deadline passed
                if pending is not None:
                    pending.cancel()
                raise
        if call.status:
            await context.abort(self._codes[call.status], call.message)
        return call.payload

    async def _model_stream_infer(self, _: Any, context: Any) -> None:
        metadata = [tuple(item) for item in _metadata(context)]
        stream = InferStream(
            self._dataplane,
            self._in_flight,
            errors_end_stream=_ERROR_METADATA in metadata,
            headers=self._forwarded(context),
            metadata=metadata,
            restrictions=self._restrictions,
            plans=self._inference.plans,
        )
        self._streams.add(stream)
        began, status = monotonic_ns(), "OK"
        reader = asyncio.ensure_future(_read(context, stream))
        try:
            while (answer := await stream.next_answer()) is not None:
                await context.write(answer)
        except StreamFailedError as failure:
            status = NAMES[failure.status]
            await context.abort(self._codes[failure.status], status_text(failure.message))
        except asyncio.CancelledError:  # the client disconnected or its deadline passed
            status = Code.CANCELLED.name
            raise
        finally:
            self._streams.discard(stream)
            if self._options.log_access:
                log_call(context.peer(), MODEL_STREAM_INFER, began, status)
            stream.cancel()
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader


def _metadata(context: Any) -> Metadata:
    metadata: Metadata = context.invocation_metadata() or ()
    return metadata


_CLIENTS: Final = Clients(_metadata, lambda context: str(context.peer()))


async def _read(context: Any, stream: InferStream) -> None:
    import grpc

    try:
        while (payload := await context.read()) is not grpc.aio.EOF:
            if len(payload) > LARGE and is_large_work(payload):
                await stream.receive_large(payload)
            else:
                stream.receive(payload)
            del payload  # as in `_model_infer`
            await stream.room()
    finally:
        stream.end_input()


def _add(rows: dict[str, dict[str, Any]], path: str, handler: Any) -> None:
    service, _, method = path.removeprefix("/").partition("/")
    rows.setdefault(service, {})[method] = handler


def _channel_arguments(options: GrpcOptions) -> list[tuple[str, int]]:
    arguments = {
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": options.max_message_bytes,  # also of what is decompressed
        "grpc.so_reuseport": int(options.reuse_grpc_port),
        "grpc.keepalive_time_ms": options.grpc_keepalive_time,
        "grpc.keepalive_timeout_ms": options.grpc_keepalive_timeout,
        "grpc.http2.ping_timeout_ms": options.grpc_keepalive_timeout,  # without it, grpcio waits a minute for the reply
        "grpc.keepalive_permit_without_calls": int(options.grpc_keepalive_permit_without_calls),
        "grpc.http2.max_pings_without_data": options.grpc_http2_max_pings_without_data,
        "grpc.http2.min_ping_interval_without_data_ms": options.grpc_http2_min_recv_ping_interval_without_data,
        "grpc.http2.max_ping_strikes": options.grpc_http2_max_ping_strikes,
    }
    level = COMPRESSION_LEVELS[options.grpc_infer_response_compression_level]
    if level:
        arguments["grpc.default_compression_level"] = level
    if options.grpc_max_connection_age != NO_AGE_LIMIT:
        arguments["grpc.max_connection_age_ms"] = options.grpc_max_connection_age
        arguments["grpc.max_connection_age_grace_ms"] = options.grpc_max_connection_age_grace
    return list(arguments.items())


def _credentials(options: GrpcOptions) -> Any:
    """Return the TLS credentials, which follow changes of their files, or None for an insecure port; raise UNAVAILABLE
    if a file cannot be used."""
    import grpc

    if not (options.grpc_use_ssl or options.grpc_use_ssl_mutual):
        return None
    root = Path(options.grpc_root_cert) if options.grpc_root_cert else None
    files = CertificateFiles(Path(options.grpc_server_cert), Path(options.grpc_server_key), root)
    certificates = Certificates(files, "gRPC")
    certificates.load()

    def configuration() -> Any:
        pem = certificates.pem
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authorities)

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        lambda: configuration() if certificates.refresh() else None,
        require_client_authentication=options.grpc_use_ssl_mutual,
    )
