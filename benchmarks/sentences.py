"""A gRPC client that sends every text in a list once, with fixed concurrency, in a separate process.

`python -m benchmarks.sentences PORT MODEL CONCURRENCY FILE` prints texts per second. perf_analyzer is not suitable: its
workers go through the data in lockstep, so requests of equal length arrive together, unlike in real use. Requests are
encoded before the clock starts, and responses are not decoded, so that the client takes little CPU from the server.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_WARM: Final = 100
_ROUNDS: Final = 2


def sentences_per_second(port: int, model: str, concurrency: int, file: Path) -> float:
    """Run the client and return the measured rate."""
    words = [sys.executable, "-m", "benchmarks.sentences", str(port), model, str(concurrency), str(file)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def _encode(model: str, text: str) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(serialize_byte_tensor(np.array([text.encode()], dtype=np.object_)).item())
    return request.SerializeToString()


async def _send_all(port: int, requests: list[bytes], concurrency: int) -> float:
    """Return the seconds until all responses have arrived."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(_METHOD)

        async def work(waiting: Iterator[bytes]) -> None:
            for request in waiting:
                await call(request)

        for part in (requests[:_WARM], requests):
            waiting = iter(part)
            started = time.perf_counter()
            await asyncio.gather(*(work(waiting) for _ in range(concurrency)))
        return time.perf_counter() - started


def main() -> None:
    """Measure and print texts per second, the better of two rounds."""
    port, model, concurrency, file = sys.argv[1:]
    texts = Path(file).read_text(encoding="utf-8").split("\n")
    requests = [_encode(model, text) for text in texts]
    seconds = min(asyncio.run(_send_all(int(port), requests, int(concurrency))) for _ in range(_ROUNDS))
    print(len(requests) / seconds)


if __name__ == "__main__":
    main()
