"""Embed every text in a file with sentence-transformers, without a server, and print texts per second.

`PYTHON benchmarks/offline_embedder.py CHECKPOINT FILE BATCH` runs in an environment of its own, so it imports nothing
of Slipway. The better of two rounds counts, as for servers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> None:
    """Measure and print texts per second."""
    from sentence_transformers import SentenceTransformer

    checkpoint, file, batch = sys.argv[1:]
    texts = Path(file).read_text(encoding="utf-8").split("\n")
    model = SentenceTransformer(checkpoint, device="cpu")
    size = int(batch)
    model.encode(texts[:64])
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        for start in range(0, len(texts), size):
            model.encode(texts[start : start + size], batch_size=size, show_progress_bar=False)
        seconds.append(time.perf_counter() - started)
    print(len(texts) / min(seconds))


if __name__ == "__main__":
    main()
