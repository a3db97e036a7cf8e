"""Memory and start-up time: an empty server, shared weights, and a soak test of requests and reloads."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http

from benchmarks.report import Row
from benchmarks.repositories import write_identity, write_large_onnx
from benchmarks.serving import running_server

WEIGHT_MB = 200
REQUESTS = 100_000
RELOADS = 200


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def settled_rss_mb(pid: int) -> float:
    """Return the lowest resident memory in the next second: a replaced version is freed just after the load returns."""
    readings = []
    for _ in range(10):
        time.sleep(0.1)
        readings.append(rss_mb(pid))
    return min(readings)


def empty_server() -> list[Row]:
    """Measure a server without models: resident memory and seconds until it is ready."""
    seconds, memory = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as scratch:
            repository = Path(scratch) / "empty"
            repository.mkdir()
            started = time.monotonic()
            with running_server(repository) as server:
                seconds.append(time.monotonic() - started)
                memory.append(rss_mb(server.pid))
    return [
        Row("no model: resident memory", max(memory), "MB", at_most=130.0),
        Row("no model: ready after", max(seconds), "s", at_most=2.0),
    ]


def _large_model_rss(count: int) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "models"
        write_large_onnx(repository, "large", megabytes=WEIGHT_MB, count=count)
        with running_server(repository) as server:
            client = tritonclient.grpc.InferenceServerClient(server.grpc)
            given = tritonclient.grpc.InferInput("x", [1, 512], "FP32")
            given.set_data_from_numpy(np.zeros((1, 512), np.float32))
            for _ in range(4 * count):
                client.infer("large", [given])
            client.close()
            return rss_mb(server.pid)


def shared_weights() -> list[Row]:
    """Measure the memory of three additional instances of an ONNX model, as a share of its weights."""
    share = (_large_model_rss(4) - _large_model_rss(1)) / WEIGHT_MB
    return [Row("ONNX count 4 over count 1, share of the weights", share, "", at_most=0.30)]


def soak() -> list[Row]:
    """Measure how resident memory grows over 100 000 requests and over 200 reloads, after a warm-up."""
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "models"
        write_identity(repository, "identity", "identity")
        write_large_onnx(repository, "matmul", megabytes=4, count=1)
        flags = ("--model-control-mode", "explicit", "--load-model", "*")
        with running_server(repository, *flags) as server:
            client = tritonclient.http.InferenceServerClient(server.http)
            given = tritonclient.http.InferInput("INPUT0", [1, 16], "FP32")
            given.set_data_from_numpy(np.zeros((1, 16), np.float32))

            def requests(number: int) -> None:
                for _ in range(number):
                    client.infer("identity", [given])

            def reloads(number: int) -> None:
                config = repository / "matmul" / "config.pbtxt"
                for index in range(number):
                    config.write_text(
                        f'backend: "onnxruntime"\nversion_policy {{ latest {{ num_versions: {index + 1} }} }}\n'
                    )
                    client.load_model("matmul")

            requests(REQUESTS // 10)
            before_requests = rss_mb(server.pid)
            requests(REQUESTS)
            after_requests = rss_mb(server.pid)
            reloads(RELOADS // 4)
            before_reloads = settled_rss_mb(server.pid)
            reloads(RELOADS)
            after_reloads = settled_rss_mb(server.pid)
            client.close()
    return [
        Row(f"memory after {REQUESTS:,} requests", after_requests, "MB", before_requests, at_most=1.03),
        Row(f"memory after {RELOADS} reloads", after_reloads, "MB", before_reloads, at_most=1.03),
    ]


def memory() -> list[Row]:
    """Run every memory measurement."""
    return [*empty_server(), *shared_weights(), *soak()]
