"""Reading documents: four pages in one request through the server, against `transformers` in the same run.

The checkpoint has the shape of a document reader (a Swin encoder for pages of 1280 x 1024 pixels, an mBART decoder) and
random weights, which do not affect the figures: both sides generate the same number of tokens. It is converted with
`slipway build-eclair`'s task as anyone would, so engine and number types are what the gate let through. Turns
alternate, so that a busy machine affects both; each figure is the median of its turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tritonclient.grpc
from numpy.typing import NDArray

from benchmarks.memory import rss_mb
from benchmarks.report import Row
from benchmarks.serving import running_server
from benchmarks.toys import write_page_reader
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions
from slipway.convert.reading.pictures import made_pages
from slipway.documents.canvas import HEIGHT, WIDTH

TURNS: Final = 3
BATCH: Final = 4
NEW_TOKENS: Final = 128
FULL_BATCH: Final = 16
_MEGABYTE: Final = 1 << 20


def reading(turns: int = TURNS, tokens: int = NEW_TOKENS, **shape: int) -> list[Row]:
    """Measure pages per second and generated tokens per second; `shape` overrides sizes of the checkpoint."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        checkpoint = write_page_reader(root / "checkpoint", tokens, **shape)
        report = convert(checkpoint, ConvertOptions("eclair", root / "models", task=Task.DOCUMENT_READING)).report
        pages = np.stack(made_pages(HEIGHT, WIDTH))[:BATCH]
        reference = _transformers(checkpoint, pages)
        with running_server(root / "models") as server, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            runs = {"transformers": reference, "slipway": lambda: _read(client, pages)}
            seconds = _alternate(runs, turns)
            before = rss_mb(server.pid)
            _read(client, np.concatenate([pages] * (FULL_BATCH // BATCH)))
            grown = rss_mb(server.pid) - before
        what = f"document reader ({report.chosen}), {BATCH} pages of {tokens} tokens"
        rate = {name: BATCH * tokens / each for name, each in seconds.items()}
        size = FULL_BATCH * HEIGHT * WIDTH * 3 / _MEGABYTE
        return [
            Row(what, rate["slipway"], "tok/s", rate["transformers"], at_least=2.0),
            Row(f"the server's memory after a request of {FULL_BATCH} pages, against its size", grown, "MB", size),
        ]


def _transformers(checkpoint: Path, pages: NDArray[np.uint8]) -> Callable[[], Any]:
    """Return a function that reads the pages with transformers in FP32, from pixels to ids."""
    import torch
    import transformers

    model = transformers.VisionEncoderDecoderModel.from_pretrained(checkpoint).eval()

    def generate() -> Any:
        pixels = torch.from_numpy(pages).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            return model.generate(pixels)

    return generate


def _read(client: tritonclient.grpc.InferenceServerClient, pages: NDArray[np.uint8]) -> NDArray[Any]:
    tensor = tritonclient.grpc.InferInput("image", list(pages.shape), "UINT8")
    tensor.set_data_from_numpy(pages)
    texts: NDArray[Any] = client.infer("eclair", [tensor]).as_numpy("text")
    return texts


def _alternate(runs: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Return the median seconds of each run; the first turn is only a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}
