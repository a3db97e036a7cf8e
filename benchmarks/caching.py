"""Responses from the cache: Slipway and NVIDIA's tritonserver side by side.

A Python model answers the same request again and again, so that all but the first answers come from the local cache.
Both servers keep running while the load alternates between them. Each figure is the median of `rounds` measurements.
`beside=False` omits NVIDIA's server.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.load import Measurement, measure
from benchmarks.reference import reference_server
from benchmarks.report import Row
from benchmarks.repositories import write_identity
from benchmarks.serving import running_server

MODEL = "identity_python"
ROUNDS = 3
_BYTES = 64 << 20
_CACHE = f"--cache-config=local,size={_BYTES}"


def caching(*, rounds: int = ROUNDS, beside: bool = True) -> list[Row]:
    """Measure hits over both transports, one and eight at a time."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        repository = Path(scratch) / "models"
        write_identity(repository, MODEL, "python")
        with (repository / MODEL / "config.pbtxt").open("a") as config:
            config.write("response_cache { enable: true }\n")
        ours = stack.enter_context(running_server(repository, _CACHE)).ports
        theirs = None
        if beside:
            theirs, _ = stack.enter_context(reference_server(repository, Path(scratch) / "reference.log", _CACHE))
        for protocol in ("http", "grpc"):
            for concurrency in (1, 8):
                mine: list[Measurement] = []
                other: list[Measurement] = []
                for _ in range(rounds):
                    mine.append(measure(MODEL, getattr(ours, protocol), protocol, concurrency))
                    if theirs is not None:
                        other.append(measure(MODEL, getattr(theirs, protocol), protocol, concurrency))
                name = f"{protocol} cache hits, concurrency {concurrency}"
                reference = median(one.per_second for one in other) if other else None
                rows.append(Row(name, median(one.per_second for one in mine), "req/s", reference, at_least=1.2))
                if concurrency == 1:
                    rows.append(Row(f"{name}: p50", median(one.p50_us for one in mine) / 1e3, "ms", at_most=0.15))
    return rows
