"""Reading documents: four pages in one request through the server, against `transformers` in the same run.

The checkpoint has the shape of a document reader (a Swin encoder for pages of 1280 x 1024 pixels, an mBART decoder) and
random weights, which do not affect the figures: both sides generate the same number of tokens. It is converted to int8
as `slipway build-eclair --precision int8` does, so the gate let it through. Turns alternate, so that a busy machine
affects both; each figure is the median of its turns.
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
import tritonclient.http
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

TURNS: Final = 2
BATCH: Final = 4
NEW_TOKENS: Final = 128
FULL_BATCH: Final = 16
_MEGABYTE: Final = 1 << 20
_CONTRACT: Final = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            texts = np.full((len(images), 1), b"", np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("text", texts)]))
        return responses
"""


def reading(turns: int = TURNS, tokens: int = NEW_TOKENS, precision: str = "int8", **shape: int) -> list[Row]:
    """Measure generated tokens per second, and what a large request costs; `shape` overrides the checkpoint's sizes."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        checkpoint = write_page_reader(root / "checkpoint", tokens, **shape)
        options = ConvertOptions("eclair", root / "models", precision=precision, task=Task.DOCUMENT_READING)
        report = convert(checkpoint, options).report
        pages = np.stack([*made_pages(HEIGHT, WIDTH), np.full((HEIGHT, WIDTH, 3), 255, np.uint8)])[:BATCH]
        reference = _transformers(checkpoint, pages)
        with running_server(root / "models") as server, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            runs = {"transformers": reference, "slipway": lambda: _read(client, "eclair", pages)}
            seconds = _alternate(runs, turns)
        rate = {name: BATCH * tokens / each for name, each in seconds.items()}
        what = f"document reader ({report.chosen}), {BATCH} pages of {tokens} tokens"
        return [Row(what, rate["slipway"], "tok/s", rate["transformers"], at_least=2.0), *_memory(root)]


def _memory(root: Path) -> list[Row]:
    """Measure the peak of the server's memory during a request of 16 pages, for a model that does not compute.

    Over gRPC there is no target: the library holds a message twice while it passes it on.
    """
    model = root / "contract/pages"
    (model / "1").mkdir(parents=True)
    (model / "1/model.py").write_text(_CONTRACT)
    (model / "config.pbtxt").write_text(
        f'backend: "python"\nmax_batch_size: {FULL_BATCH}\n'
        f'input {{ name: "image" data_type: TYPE_UINT8 dims: [ {HEIGHT}, {WIDTH}, 3 ] }}\n'
        'output { name: "text" data_type: TYPE_STRING dims: [ 1 ] }\n'
    )
    page = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    pages = np.repeat(page, FULL_BATCH, axis=0)
    rows = []
    with running_server(model.parent) as server:
        for transport, module, at_most in (("HTTP", tritonclient.http, 1.2), ("gRPC", tritonclient.grpc, None)):
            with module.InferenceServerClient(getattr(server, transport.lower())) as client:
                _read(client, "pages", page)
                peak = _peak(server.pid, lambda: _read(client, "pages", pages))
            name = f"{FULL_BATCH} pages over {transport}: the server's peak memory, against their size"
            rows.append(Row(name, peak, "MB", pages.nbytes / _MEGABYTE, at_most=at_most))
    return rows


def _peak(pid: int, action: Callable[[], Any]) -> float:
    """Return by how many MB the resident memory of a process exceeds its present one during an action."""
    before = rss_mb(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak so far
    action()
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024 - before


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


def _read(client: Any, model: str, pages: NDArray[np.uint8]) -> NDArray[Any]:
    """Send pages with a client of either transport; return the texts, BYTES [pages, 1]."""
    is_http = isinstance(client, tritonclient.http.InferenceServerClient)
    tensor = (tritonclient.http if is_http else tritonclient.grpc).InferInput("image", list(pages.shape), "UINT8")
    tensor.set_data_from_numpy(pages)
    texts: NDArray[Any] = client.infer(model, [tensor]).as_numpy("text")
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
