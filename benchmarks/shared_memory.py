"""Identity FP32 of 4 MiB over gRPC, in shared memory and in the message: Slipway and NVIDIA's tritonserver in turns.

The clients and both servers run on one machine; perf_analyzer makes the regions and registers them. Each figure is the
median of `rounds` measurements. `beside=False` omits NVIDIA's server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.load import measure
from benchmarks.reference import reference_server
from benchmarks.report import Row
from benchmarks.repositories import write_identity
from benchmarks.serving import running_server

_SIZE: Final = 4 << 20  # bytes of a tensor
_CONCURRENCIES: Final = (1, 4)
_IN_REGIONS: Final = ("--shared-memory", "system", "--output-shared-memory-size", str(_SIZE))


def _rates(ports: dict[str, tuple[str, int]], concurrency: int, rounds: int) -> dict[str, float]:
    """Return the requests/s of each model, by a label, in regions and ("LABEL, in the message") without them."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for label, (model, port) in ports.items():
            for suffix, extra in (("", _IN_REGIONS), (", in the message", ())):
                rate = measure(model, port, "grpc", concurrency, extra=extra).per_second
                found.setdefault(label + suffix, []).append(rate)
    return {label: median(rates) for label, rates in found.items()}


def _rows(rates: dict[str, float], concurrency: int) -> Iterator[Row]:
    theirs = rates.get("reference")
    for label, name in (("identity", "identity"), ("process", "model.py in a process")):
        start = f"gRPC 4 MiB {name} in shared memory, concurrency {concurrency}"
        ours = rates[label]
        targets = (1.5, 1.0) if label == "identity" else (None, None)
        yield Row(f"{start}, beside the message", ours, "req/s", rates[f"{label}, in the message"], at_least=targets[0])
        if theirs is not None:
            yield Row(f"{start}, beside the reference", ours, "req/s", theirs, at_least=targets[1])
    if theirs is not None:
        start = f"gRPC 4 MiB model.py of the reference in shared memory, concurrency {concurrency}"
        yield Row(f"{start}, beside the message", theirs, "req/s", rates["reference, in the message"])


def shared_memory(*, rounds: int = 3, beside: bool = True) -> list[Row]:
    """Measure the identity backend and a model.py, the one that the reference has too."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        ours, theirs = Path(scratch) / "slipway", Path(scratch) / "reference"
        write_identity(ours, "identity", "identity", size=_SIZE // 4)
        write_identity(ours, "identity_process", "python", size=_SIZE // 4)
        mine = stack.enter_context(running_server(ours, "--allow-client-shm"))
        ports = {"identity": ("identity", mine.ports.grpc), "process": ("identity_process", mine.ports.grpc)}
        if beside:
            write_identity(theirs, "identity_python", "python", size=_SIZE // 4)
            other, _ = stack.enter_context(reference_server(theirs, Path(scratch) / "reference.log"))
            ports["reference"] = ("identity_python", other.grpc)
        return [row for concurrency in _CONCURRENCIES for row in _rows(_rates(ports, concurrency, rounds), concurrency)]
