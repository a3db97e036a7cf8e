"""An HTTP client that sends every text in a list once, one a request, with fixed concurrency, in a separate process.

`python -m benchmarks.http_texts PORT PATH MODEL CONCURRENCY FILE` prints texts per second. Requests are encoded before
the clock starts, connections stay open, and responses are read but not decoded, as in `sentences.py`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_WARM: Final = 100
_ROUNDS: Final = 2
_LENGTH: Final = b"content-length:"


def texts_per_second(port: int, path: str, model: str, concurrency: int, file: Path) -> float:
    """Run the client and return the measured rate."""
    words = [sys.executable, "-m", "benchmarks.http_texts", str(port), path, model, str(concurrency), str(file)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def encode_post(path: str, model: str, text: str) -> bytes:
    """Return a complete request that asks for the embedding of one text."""
    body = json.dumps({"model": model, "input": text}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def send_posts(port: int, requests: Sequence[bytes], concurrency: int) -> float:
    """Return the seconds until all responses have arrived, after the first ones, which do not count."""
    channels = [await asyncio.open_connection("127.0.0.1", port) for _ in range(concurrency)]

    async def work(waiting: Iterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in waiting:
            writer.write(request)
            await _read_response(reader)

    try:
        for part in (requests[:_WARM], requests):
            waiting = iter(part)
            started = time.perf_counter()
            await asyncio.gather(*(work(waiting, *channel) for channel in channels))
        return time.perf_counter() - started
    finally:
        for _, writer in channels:
            writer.close()


async def _read_response(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if status != b"200":
        raise RuntimeError(f"the server answered with status {status.decode()}")
    lines = (line for line in head.lower().split(b"\r\n") if line.startswith(_LENGTH))
    await reader.readexactly(int(next(lines).removeprefix(_LENGTH)))


def main() -> None:
    """Measure and print texts per second, the better of two rounds."""
    port, path, model, concurrency, file = sys.argv[1:]
    texts = Path(file).read_text(encoding="utf-8").split("\n")
    requests = [encode_post(path, model, text) for text in texts]
    seconds = min(asyncio.run(send_posts(int(port), requests, int(concurrency))) for _ in range(_ROUNDS))
    print(len(requests) / seconds)


if __name__ == "__main__":
    main()
