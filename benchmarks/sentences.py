"""A gRPC client that sends every text in a list once, with fixed concurrency, in a separate process.

`python -m benchmarks.sentences PORT MODEL CONCURRENCY FILE` prints texts per second. perf_analyzer is not suitable: its
workers go through the data in lockstep, so requests of equal length arrive together, unlike in real use. Requests are
encoded before the clock starts, and responses are not decoded, so that the client takes little CPU from the server.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.bytes_requests import encode_request, send_all

_WARM: Final = 100
_ROUNDS: Final = 2


def sentences_per_second(port: int, model: str, concurrency: int, file: Path) -> float:
    """Run the client and return the measured rate."""
    words = [sys.executable, "-m", "benchmarks.sentences", str(port), model, str(concurrency), str(file)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure and print texts per second, the better of two rounds."""
    port, model, concurrency, file = sys.argv[1:]
    texts = Path(file).read_text(encoding="utf-8").split("\n")
    requests = [encode_request(model, "text", text.encode()) for text in texts]
    seconds = min(asyncio.run(send_all(int(port), requests, int(concurrency), warm=_WARM)) for _ in range(_ROUNDS))
    print(len(requests) / seconds)


if __name__ == "__main__":
    main()
