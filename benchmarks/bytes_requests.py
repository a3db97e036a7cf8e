"""gRPC requests of one string each, encoded before the clock starts, and a client that sends them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"


def encode_request(model: str, name: str, content: bytes, outputs: Sequence[str] = ()) -> bytes:
    """Return a request of one row for `outputs`, by default all, whose input `name` is BYTES [1, 1]."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(serialize_byte_tensor(np.array([content], dtype=np.object_)).item())
    for output in outputs:
        request.outputs.add(name=output)
    return request.SerializeToString()


async def send_all(port: int, requests: Sequence[bytes], concurrency: int, *, warm: int) -> float:
    """Return the seconds until all responses have arrived, after the first `warm` requests, which do not count."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(_METHOD)

        async def work(waiting: Iterator[bytes]) -> None:
            for request in waiting:
                await call(request)

        for part in (requests[:warm], requests):
            waiting = iter(part)
            started = time.perf_counter()
            await asyncio.gather(*(work(waiting) for _ in range(concurrency)))
        return time.perf_counter() - started
