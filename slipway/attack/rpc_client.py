"""Calls of the gRPC port: messages built around a known model, sent as bytes, so that they may be invalid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2

from slipway.attack.group import AttackRun
from slipway.attack.http2 import INFER
from slipway.attack.models import KnownModel


@dataclass(frozen=True, slots=True)
class RpcReply:
    """The end of a call: the name of its status, its text, and the response, b"" if there is none."""

    status: str
    text: str
    payload: bytes = b""


class RpcClient:
    """Makes calls on one channel."""

    def __init__(self, channel: Any, run: AttackRun) -> None:
        self._channel = channel
        self._run = run

    async def call(
        self,
        payload: bytes,
        *,
        method: str = INFER,
        metadata: Sequence[tuple[str, str]] = (),
        compress: bool = False,
    ) -> RpcReply:
        """Make a call; the status DEADLINE_EXCEEDED means that there was no response in time."""
        import grpc

        self._run.allowance.spend(len(payload) + sum(len(name) + len(value) for name, value in metadata))
        try:
            response = await self._channel.unary_unary(method)(
                payload,
                timeout=self._run.bounds.response_s,
                metadata=tuple(metadata),
                compression=grpc.Compression.Gzip if compress else None,
            )
        except grpc.RpcError as error:
            return RpcReply(error.code().name, error.details() or "")
        return RpcReply("OK", "", response)

    async def what_is_wrong(self, model: KnownModel) -> str:
        """Return what is wrong with the response to the good request of a model, "" if nothing is."""
        reply = await self.call(message(model).SerializeToString())
        if reply.status != "OK":
            return f"{reply.status}: {reply.text[:100]}"
        response = service_pb2.ModelInferResponse.FromString(reply.payload)
        return "" if {output.name for output in response.outputs} >= set(model.outputs) else "outputs are missing"


@asynccontextmanager
async def rpc_client(run: AttackRun) -> AsyncIterator[RpcClient]:
    """Yield a client on a connection of its own, without limits of its own."""
    import grpc

    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 1 << 24),
        ("grpc.absolute_max_metadata_size", 1 << 24),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]
    async with grpc.aio.insecure_channel(str(run.rpc.address), options=options) as channel:
        yield RpcClient(channel, run)


def message(model: KnownModel, *raws: bytes, **fields: Any) -> Any:
    """Return the good ModelInferRequest of a model, with other raw contents if they are given."""
    made = service_pb2.ModelInferRequest(**{"model_name": model.name} | fields)
    for each in model.inputs:
        made.inputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
    made.raw_input_contents.extend(raws or [each.raw for each in model.inputs])
    return made
