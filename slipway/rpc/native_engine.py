"""The listener on pygrpc-native: HTTP/2 and gRPC framing in Rust, outside the interpreter lock.

Unary RPCs arrive as batches of events (its low-level API; its asyncio server is half as fast) and are answered by
call id. RPCs that it does not support, above all bidirectional streams, it forwards to a grpcio engine on a Unix
socket that only this process's user can open. It decompresses gzip requests but not deflate (UNIMPLEMENTED), and it
offers no limit for what a message unfolds to: a message that is too large is refused here, but only once it is in
memory, so without `--grpc-engine native` only ports for local clients use this engine.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import threading
from collections.abc import Awaitable
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

from slipway.api_keys import ApiKeys
from slipway.core.pending import Pending
from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError, unavailable, unforeseen
from slipway.rpc.call_log import inference_type, log_call, logged_call
from slipway.rpc.grpcio_engine import GrpcioEngine
from slipway.rpc.in_flight import InFlight
from slipway.rpc.inference import LargeCall, UnaryInference
from slipway.rpc.options import GrpcOptions
from slipway.rpc.protection import CallGuard
from slipway.rpc.service import MODEL_INFER, Service
from slipway.rpc.status import GRPC_STATUS, NAMES, RESOURCE_EXHAUSTED, status_text
from slipway.rpc.traced import Clients, Metadata

_BATCH: Final = 64
# How long the loop polls for a lone client's next request, between its other work, before the thread waits for it.
# This gives a median of 56 us instead of 146 us per request at concurrency 1, and no difference at 8 and 24.
_LOOK_NS: Final = 60_000
_FLUSH_POLL_S: Final = 0.001
_FORWARD_S: Final = 0.1  # the front does not say when it has forwarded the end of a stream; it takes about 1 ms
_CANCEL: Final = 1  # pygrpc_native.EVENT_CANCEL: the client disconnected or its deadline passed

Event = tuple[int, int, int, bytes, Any]  # kind, call id, method id, message, client

_LOG: Final = logging.getLogger("slipway.rpc")


class NativeEngine:
    """A NativeGrpcFront on one port, with a grpcio engine for streams."""

    def __init__(
        self,
        dataplane: Dataplane,
        service: Service,
        in_flight: InFlight,
        options: GrpcOptions,
        keys: ApiKeys | None = None,
    ) -> None:
        self._service = service
        self._options = options
        self._inference: UnaryInference[int] = inference_type(log_access=options.log_access)(
            dataplane, in_flight, self._reply, _CLIENTS
        )
        self._streams_engine = GrpcioEngine(dataplane, service, in_flight, options, keys)
        self._guard = CallGuard(keys, {})  # restrictions need grpcio
        self._begin = self._start if keys is None else self._start_admitted
        self._paths = [MODEL_INFER, *service.methods]  # method id -> path; ModelInfer is 0
        self._max_message_bytes = options.max_message_bytes
        self._calls: dict[int, Pending | LargeCall | asyncio.Task[None]] = {}  # calls that can be cancelled, by call id
        self._directory = ""
        self._front: Any = None
        # What a client sent beside its message is read only for traces, the access log and keys: it takes longer.
        with_details = dataplane.tracing.options.possible or options.log_access or keys is not None
        self._take = _take_with_details if with_details else _take
        self._turn = threading.Lock()  # held while the loop takes events itself
        self._look_until_ns = 0
        self._linger_s = 0.0  # before the port closes
        self._loop: asyncio.AbstractEventLoop

    async def start(self, target: str) -> int:
        """Listen on `target` ("host:port"); return the port. Raise `SlipwayError` (UNAVAILABLE) on failure."""
        from pygrpc_native import NativeGrpcFront

        options = self._options
        try:
            self._front = NativeGrpcFront(
                target,
                [(path, False) for path in self._paths],
                call_details=True,  # without it cancelled unary calls are not reported
                metrics=True,  # they say which responses have left, see `_flushed`
                keepalive_time_ms=options.grpc_keepalive_time,
                keepalive_timeout_ms=options.grpc_keepalive_timeout,
                keepalive_permit_without_calls=options.grpc_keepalive_permit_without_calls,
                reuse_port=options.reuse_grpc_port,
            )
        except OSError:
            raise unavailable(f"failed to start the gRPC service: cannot bind to {target}") from None
        self._directory = tempfile.mkdtemp(prefix="slipway-grpc-")
        path = str(Path(self._directory) / "streams.sock")
        await self._streams_engine.start(f"unix:{path}")
        self._front.set_fallback(path)
        self._front.start()
        self._turn.acquire()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._receive, args=(self._front, self._loop), name="grpc-events", daemon=True).start()
        return int(self._front.bound_port)

    def end_streams(self) -> None:
        """End every stream as soon as its open requests are answered."""
        if self._streams_engine.open_streams:
            self._linger_s = _FORWARD_S
        self._streams_engine.end_streams()

    async def stop(self, grace_s: float) -> None:
        """Close the port; open streams may finish within `grace_s` seconds, other calls are cancelled."""
        deadline = self._loop.time() + grace_s
        await self._streams_engine.stop(grace_s)
        for call in list(self._calls.values()):
            call.cancel()
        if grace_s:
            await asyncio.sleep(min(self._linger_s, grace_s))
        while not self._flushed() and self._loop.time() < deadline:  # noqa: ASYNC110  the front sends no event for it
            await asyncio.sleep(_FLUSH_POLL_S)
        await self._loop.run_in_executor(None, self._front.close)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _flushed(self) -> bool:
        """Whether every response has been written. `close` drops those that are still queued: right after `respond`,
        half of the clients get an error."""
        methods = self._front.metrics()["methods"].values()
        return all(
            method["started"] == sum(ended["count"] for ended in method["status"].values()) for method in methods
        )

    def _receive(self, front: Any, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for events in a separate thread, until the port closes."""
        while (events := self._take(front, None)) is not None:
            try:
                loop.call_soon_threadsafe(self._handle, events)
            except RuntimeError:  # the loop was closed without `stop`
                front.close()
                return
            del events  # otherwise the last batch and its messages would stay in memory until the next one arrives
            self._turn.acquire()

    def _handle(self, events: list[Event]) -> None:
        """Start the calls in `events`, then look for more; give the waiting thread its turn back if there are none.

        A hop between threads costs more than a small inference. Under load this needs almost no hops, and one batch
        per pass of the loop leaves time for the loop's other work.
        """
        self._begin(events)
        if len(events) == 1 and not self._calls:  # answered at once: a lone client, whose next request is on its way
            self._look_until_ns = monotonic_ns() + _LOOK_NS
        self._look()

    def _look(self) -> None:
        more = self._take(self._front, 0)
        if more:
            self._loop.call_soon(self._handle, more)
        elif more is not None and monotonic_ns() < self._look_until_ns:
            self._loop.call_soon(self._look)
        else:
            self._turn.release()

    def _start(self, events: list[Event]) -> None:
        calls, start = self._calls, self._inference.start
        for kind, call_id, method_id, payload, client in events:
            if kind == _CANCEL:
                call = calls.pop(call_id, None)
                if call is not None:
                    call.cancel()
            elif len(payload) > self._max_message_bytes:
                message = f"Received message larger than max ({len(payload)} vs. {self._max_message_bytes})"
                self._front.fail(call_id, RESOURCE_EXHAUSTED, message)
            elif method_id == 0:
                pending = start(call_id, payload, None, client)
                if pending is not None:
                    calls[call_id] = pending
            else:
                calls[call_id] = asyncio.ensure_future(self._cold(call_id, self._paths[method_id], payload, client))

    def _start_admitted(self, events: list[Event]) -> None:
        """Refuse the calls in `events` that lack an API key, start the others."""
        admitted = []
        for event in events:
            kind, call_id, method_id, _, client = event
            path = self._paths[method_id]
            refusal = None if kind == _CANCEL else self._guard.refusal(path, _metadata(client))
            if refusal is None:
                admitted.append(event)
                continue
            self._front.fail(call_id, refusal.status, refusal.text)
            if self._options.log_access:
                log_call(_CLIENTS.peer(client), path, monotonic_ns(), NAMES[refusal.status])
        self._start(admitted)

    def _reply(self, call_id: int, payload: bytes, error: SlipwayError | None) -> None:
        self._calls.pop(call_id, None)
        if error is None:
            self._front.respond(call_id, payload)
        else:
            self._front.fail(call_id, GRPC_STATUS[error.code], status_text(error.message))

    async def _cold(self, call_id: int, path: str, payload: bytes, client: Any) -> None:
        answer: Awaitable[bytes] = self._service.call(path, payload)
        if self._options.log_access:
            answer = logged_call(answer, _CLIENTS.peer(client), path)
        try:
            self._reply(call_id, await answer, None)
        except SlipwayError as error:
            self._reply(call_id, b"", error)
        except Exception as error:  # noqa: BLE001  every call gets a response, even after a bug
            _LOG.exception("%s failed", path)
            self._reply(call_id, b"", unforeseen(error))


def _take(front: Any, timeout_ms: int | None) -> list[Event] | None:
    """Return the next events; None when the port is closed. Their clients have nothing to read."""
    events: list[Event] | None = front.recv_batch(_BATCH, timeout_ms)
    return events


def _take_with_details(front: Any, timeout_ms: int | None) -> list[Event] | None:
    """Return the next events, with the metadata and the address of their clients."""
    events = front.recv_batch_details(_BATCH, timeout_ms)
    return None if events is None else [(*event[:4], event[5]) for event in events]


def _metadata(client: Any) -> Metadata:
    """Return the metadata of an event's client: (metadata, peer, remaining time)."""
    metadata: Metadata = client[0] if client else ()
    return metadata


_CLIENTS: Final = Clients(_metadata, lambda client: str(client[1]) if client else "")
