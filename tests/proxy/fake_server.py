"""A gRPC server whose answers a test chooses, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2

from slipway.proxy.options import ProxyOptions
from slipway.proxy.upstream import Upstream

Handler = Callable[[bytes, Any], Awaitable[bytes]]


@dataclass
class FakeServer(grpc.GenericRpcHandler):
    """Calls `unary` by the name of the method, or `stream`; notes the metadata of each call, and cancelled ones."""

    unary: dict[str, Handler] = field(default_factory=dict)
    stream: Callable[[bytes, Any], AsyncIterator[bytes]] | None = None
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    running: Any = None
    infers: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        self.calls.append((name, dict(details.invocation_metadata)))
        if name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._streamed)
        if name not in self.unary:
            return None

        async def answer(request: bytes, context: Any) -> bytes:
            if name == "ModelInfer":
                self.infers.set()
            try:
                return await self.unary[name](request, context)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        return grpc.unary_unary_rpc_method_handler(answer)

    async def stop(self) -> None:
        """Close the port."""
        await self.running.stop(0)

    async def _streamed(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                async for message in self.stream(request, context):
                    yield message
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def faked(server: FakeServer, **options: Any) -> AsyncIterator[Upstream]:
    """Run the server; yield the proxy's side of a channel to it."""
    running = server.running = grpc.aio.server()
    running.add_generic_rpc_handlers((server,))
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    upstream = Upstream(ProxyOptions(server=f"127.0.0.1:{port}", **options))
    upstream.open()
    try:
        yield upstream
    finally:
        await upstream.close()
        await running.stop(0)


def description(name: str, *, decoupled: bool = False) -> dict[str, Handler]:
    """Return the handlers that describe a model with a text in and out."""
    about = service_pb2.ModelMetadataResponse(name=name, versions=["1"], platform="python")
    about.inputs.add(name="text", datatype="BYTES", shape=[1])
    about.outputs.add(name="out", datatype="BYTES", shape=[1])
    config = service_pb2.ModelConfigResponse()
    config.config.name = name
    config.config.model_transaction_policy.decoupled = decoupled

    async def metadata(request: bytes, context: Any) -> bytes:
        if service_pb2.ModelMetadataRequest.FromString(request).name != name:
            asked = service_pb2.ModelMetadataRequest.FromString(request).name
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{asked}' is not found")
        return about.SerializeToString()

    async def configuration(request: bytes, context: Any) -> bytes:
        return config.SerializeToString()

    async def index(request: bytes, context: Any) -> bytes:
        found = service_pb2.RepositoryIndexResponse()
        found.models.add(name=name, version="1", state="READY")
        return found.SerializeToString()

    return {"ModelMetadata": metadata, "ModelConfig": configuration, "RepositoryIndex": index}


def text_response(text: str) -> service_pb2.ModelInferResponse:
    """Return a response with the output `out`."""
    response = service_pb2.ModelInferResponse(model_name="m", model_version="1")
    response.outputs.add(name="out", datatype="BYTES", shape=[1])
    data = text.encode()
    response.raw_output_contents.append(len(data).to_bytes(4, "little") + data)
    return response
