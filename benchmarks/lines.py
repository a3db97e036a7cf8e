"""A million short lines through `triton_client` and an identity model: lines per second, and memory while it runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tritonclient.http

from benchmarks.memory import rss_mb
from benchmarks.report import Row
from benchmarks.serving import RunningServer, running_server

LINES = 1_000_000
REFERENCE_LINES = 50_000
BATCH = 32
_EARLY = 0.2  # the part of the lines after which memory must not grow


def lines() -> list[Row]:
    """Measure the client's speed, against a loop over tritonclient with the same batches, and its memory."""
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "in.txt", Path(scratch) / "out.txt"
        source.write_text("".join(f"line {number} of the file\n" for number in range(LINES)))
        with running_server(_repository(Path(scratch) / "models")) as server:
            plain = _loop(server, source)
            seconds, early, late = _client(server, source, target)
        if target.read_bytes() != source.read_bytes():
            raise ValueError("the output is not the input")
    return [
        Row(f"{LINES:,} lines, batches of {BATCH}", LINES / seconds, "/s", plain, at_least=2.0),
        Row("most memory of the client", late, "MB", early, at_most=1.05),
    ]


def _repository(directory: Path) -> Path:
    model = directory / "identity"
    (model / "1").mkdir(parents=True)
    tensor = "data_type: TYPE_STRING dims: [ 1 ]"
    (model / "config.pbtxt").write_text(
        f'name: "identity"\nbackend: "identity"\nmax_batch_size: {BATCH}\n'
        f'input [ {{ name: "INPUT0" {tensor} }} ]\noutput [ {{ name: "OUTPUT0" {tensor} }} ]\n'
    )
    return directory


def _client(server: RunningServer, source: Path, target: Path) -> tuple[float, float, float]:
    """Return the seconds, and the most memory in MB while the first lines and while all lines were written."""
    command = [sys.executable, "-m", "slipway", "triton_client", f"--server={server.http}", "--model-name=identity"]
    command += [f"--input_file={source}", f"--output_file={target}", f"--batch_size={BATCH}"]
    early = late = 0.0
    total = source.stat().st_size
    started = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as client:
        while client.poll() is None:
            written = target.stat().st_size if target.exists() else 0
            try:
                late = max(late, rss_mb(client.pid))
            except ProcessLookupError:
                continue  # it has just ended
            early = late if written < _EARLY * total else early
            time.sleep(0.02)
    seconds = time.monotonic() - started
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, command)
    return seconds, early, late


def _loop(server: RunningServer, source: Path) -> float:
    """Return the lines per second of a loop over the first lines with tritonclient."""
    with source.open("rb") as file:
        texts = [next(file).rstrip(b"\n") for _ in range(REFERENCE_LINES)]
    client = tritonclient.http.InferenceServerClient(server.http)
    started = time.monotonic()
    for start in range(0, len(texts), BATCH):
        rows = np.array(texts[start : start + BATCH], np.object_).reshape(-1, 1)
        given = tritonclient.http.InferInput("INPUT0", list(rows.shape), "BYTES")
        given.set_data_from_numpy(rows)
        client.infer("identity", [given]).as_numpy("OUTPUT0")
    client.close()
    return len(texts) / (time.monotonic() - started)
