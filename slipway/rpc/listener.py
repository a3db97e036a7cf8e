"""The gRPC front: chooses the engine, starts it, and stops it without losing an accepted request."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Final, Protocol

from slipway.api_keys import ApiKeys
from slipway.core.budget import Budget, default_budget
from slipway.engine.api import Dataplane
from slipway.errors import unsupported
from slipway.installation import install_hint
from slipway.rpc.grpcio_engine import GrpcioEngine
from slipway.rpc.in_flight import InFlight
from slipway.rpc.options import GrpcOptions
from slipway.rpc.service import Service

_LOG: Final = logging.getLogger("slipway.rpc")


class GrpcEngine(Protocol):
    """A gRPC library with our code around it."""

    async def start(self, target: str) -> int:
        """Listen on `target`; return the bound port."""

    def end_streams(self) -> None:
        """End every stream as soon as its open requests are answered."""

    async def stop(self, grace_s: float) -> None:
        """Close the port; open calls may finish within `grace_s` seconds."""


def choose_engine(options: GrpcOptions) -> tuple[str, str]:
    """Return the engine ("asyncio", "grpcio" or "native") and the reason; raise UNSUPPORTED if it cannot be used."""
    engine = options.grpc_engine
    if engine == "auto":
        beyond = options.beyond_asyncio()
        return ("grpcio", f"needed for {beyond}") if beyond else ("asyncio", "the fastest for small requests")
    beyond = {"asyncio": options.beyond_asyncio, "native": options.beyond_native}.get(engine, _nothing)()
    if beyond:
        raise unsupported(f"--grpc-engine {engine} does not support {beyond}; use --grpc-engine auto")
    if engine == "native" and find_spec("pygrpc_native") is None:
        raise unsupported(f"--grpc-engine native needs pygrpc-native: {install_hint('fast')}")
    return engine, "as specified"


def _nothing() -> str:
    return ""


class GrpcListener:
    """Serves one dataplane over gRPC. Construct, `start`, `stop`."""

    def __init__(
        self,
        dataplane: Dataplane,
        options: GrpcOptions,
        budget: Budget | None = None,
        keys: ApiKeys | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._options = options
        self._budget = budget or Budget(default_budget())
        self._keys = keys  # None: calls need none
        self._in_flight: InFlight | None = None
        self._engine: GrpcEngine | None = None
        self._lost = 0  # requests that `stop` cut off

    async def start(self) -> int:
        """Bind and serve; return the port. Raise `SlipwayError` if that fails."""
        name, reason = choose_engine(self._options)
        self._in_flight = InFlight(self._budget)
        service = Service(self._dataplane, self._in_flight)
        if name == "native":
            from slipway.rpc.native_engine import NativeEngine

            self._engine = NativeEngine(self._dataplane, service, self._in_flight, self._options, self._keys)
        elif name == "asyncio":
            from slipway.rpc.asyncio_engine import AsyncioEngine

            self._engine = AsyncioEngine(self._dataplane, service, self._in_flight, self._options, self._keys)
        else:
            self._engine = GrpcioEngine(self._dataplane, service, self._in_flight, self._options, self._keys)
        port = await self._engine.start(self._options.target)
        _LOG.info("Started GRPCInferenceService at %s:%d (%s: %s)", self._options.grpc_address, port, name, reason)
        return port

    @property
    def open_requests(self) -> int:
        """The number of accepted requests that are not answered yet."""
        return self._in_flight.count if self._engine is not None and self._in_flight is not None else self._lost

    async def stop(self, grace_s: float) -> int:
        """Refuse new requests, answer the accepted ones for up to `grace_s` seconds, then close the port. Return the
        number of requests that were not answered."""
        if self._engine is None or self._in_flight is None:
            return 0
        await self._in_flight.stop(grace_s)
        self._lost = self._in_flight.count
        self._engine.end_streams()
        # Once drained, the responses still have to leave the socket buffers; otherwise the open calls are dropped.
        await self._engine.stop(0 if self._lost else _FLUSH_S)
        self._engine = None
        return self._lost


_FLUSH_S = 1.0
