"""Prints how much memory the server and its child processes need with 1, 2, 3 and 4 instances of each model.

Serves copies of the configurations of `finbert-model`, whose instances share their weights in the server, and
`finbert-tokenizer`, whose instances are child processes, and keeps every instance busy before it measures.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import tritonclient.grpc

INSTANCES = {"finbert": 0, "finbert-model": 1, "finbert-tokenizer": 1}  # instance groups in the configuration
TEXT = "Stocks rallied and the British pound gained."
ROWS = 16  # a whole batch, so that requests at the same time go to different instances
START_SECONDS = 120
STOP_SECONDS = 40
_GROUP = re.compile(r"^instance_group \[.*\]$", re.MULTILINE)
_ADDRESS = re.compile(r"Started GRPCInferenceService at (\S+:\d+)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each number of instances, and print a row for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="the model repository")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2, 3, 4], help="default: 1 2 3 4")
    options = parser.parse_args(arguments)
    weights = (options.models / "finbert-model" / "1" / "model.onnx").stat().st_size / 1e6
    print(f"model.onnx: {weights:.0f} MB\n")
    print("| Instances | Server, MB | Its child processes, MB | Server, if nothing were shared (computed), MB |")
    print("|---|---|---|---|")
    first = 0.0
    for count in options.instances:
        with tempfile.TemporaryDirectory() as scratch:
            repository = with_instances(options.models.resolve(), Path(scratch), count)
            with running_server(repository) as (process, address):
                keep_busy(address, count)
                server, children = memory(process.pid)
        first = first or server
        unshared = first + (count - options.instances[0]) * weights
        print(f"| {count} | {server:.0f} | {children:.0f} | {unshared:.0f} |", flush=True)


def with_instances(models: Path, scratch: Path, count: int) -> Path:
    """Return a repository with the same models and `count` instances of each; the files are links."""
    for name, groups in INSTANCES.items():
        folder = scratch / name
        folder.mkdir()
        (folder / "1").symlink_to(models / name / "1")
        group = f"instance_group [ {{ count: {count} kind: KIND_CPU }} ]"
        source = models / name / "config.pbtxt"
        config, found = _GROUP.subn(group, source.read_text(encoding="utf-8"))
        if found != groups:
            raise SystemExit(f"{source} has {found} instance groups on a line of their own, expected {groups}")
        (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    return scratch


@contextmanager
def running_server(repository: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a server on ports that the system chooses; yield it with its address for gRPC."""
    fronts = ("http", "grpc", "metrics")
    ports = [flag for front in fronts for flag in (f"--{front}-port=0", f"--{front}-address=127.0.0.1")]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "slipway", "serve", str(repository), *ports]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process, started(process, log)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def started(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server has loaded its models, and return its address; exit with its log if it does not start."""
    deadline = time.monotonic() + START_SECONDS
    while (found := _ADDRESS.search(log.read_text())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"The server did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return found[1]


def keep_busy(address: str, count: int) -> None:
    """Send requests of a whole batch from twice as many threads as there are instances."""
    text = tritonclient.grpc.InferInput("text", [ROWS, 1], "BYTES")
    text.set_data_from_numpy(np.full((ROWS, 1), TEXT.encode(), dtype=np.object_))
    with (
        tritonclient.grpc.InferenceServerClient(address) as client,
        ThreadPoolExecutor(2 * count) as pool,
    ):
        for answer in pool.map(lambda _: client.infer("finbert", [text]), range(4 * count)):
            if answer.as_numpy("logits").shape != (ROWS, 3):
                raise SystemExit(f"finbert answered {answer.as_numpy('logits').shape}")


def memory(pid: int) -> tuple[float, float]:
    """Return the memory of a server and of all its child processes, in MB, with shared pages counted in each."""
    process = psutil.Process(pid)
    children = sum(each.memory_info().rss for each in process.children(recursive=True))
    return process.memory_info().rss / 1e6, children / 1e6


if __name__ == "__main__":
    main()
