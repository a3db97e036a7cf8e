"""Identity FP32 [1,16] with binary tensors: Slipway and NVIDIA's tritonserver on the same machine in one run.

Both servers stay up; the load alternates between them, so that a slow minute of the machine hurts both. Each figure is
the median of `ROUNDS` measurements.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.load import Measurement, measure
from benchmarks.reference import Ports, reference_server, slipway_server
from benchmarks.report import Row
from benchmarks.repositories import write_identity

CONCURRENCIES = (1, 8, 24)
ROUNDS = 3
Measure = Callable[[], Measurement]


def alternate(ours: Measure, theirs: Measure) -> tuple[list[Measurement], list[Measurement]]:
    """Return the measurements of both sides, taken in turns."""
    pairs = [(ours(), theirs()) for _ in range(ROUNDS)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _rows(name: str, mine: list[Measurement], theirs: list[Measurement], at_least: float | None) -> list[Row]:
    rate = median(one.per_second for one in mine)
    reference = median(one.per_second for one in theirs)
    rows = [Row(name, rate, "req/s", reference, at_least=at_least)]
    if mine[0].concurrency == 8:
        tail = median(one.p99_us / one.p50_us for one in mine)
        rows.append(Row(f"{name}: p99 / p50", tail, "", at_most=4.0))
    return rows


def _serve(stack: ExitStack, scratch: Path, *flags: str) -> tuple[Ports, Ports]:
    ours, theirs = scratch / "slipway", scratch / "reference"
    write_identity(ours, "identity", "identity")
    write_identity(ours, "identity_process", "python")
    write_identity(ours, "identity_thread", "python", thread_mode=True)
    write_identity(theirs, "identity_python", "python")
    mine, _ = stack.enter_context(slipway_server(ours, scratch / "slipway.log", *flags))
    other, _ = stack.enter_context(reference_server(theirs, scratch / "reference.log"))
    return mine, other


def http() -> list[Row]:
    """Measure HTTP: the identity backend at three concurrencies, the same model.py in both execution modes."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        mine, other = _serve(stack, Path(scratch))

        def compare(name: str, model: str, concurrency: int, at_least: float) -> None:
            ours, theirs = alternate(
                lambda: measure(model, mine.http, "http", concurrency),
                lambda: measure("identity_python", other.http, "http", concurrency),
            )
            rows.extend(_rows(f"{name}, concurrency {concurrency}", ours, theirs, at_least))

        for concurrency in CONCURRENCIES:
            compare("HTTP identity", "identity", concurrency, 2.0)
        compare("HTTP model.py in a process", "identity_process", 8, 1.0)
        compare("HTTP model.py in a thread", "identity_thread", 8, 1.7)
    return rows


def grpc() -> list[Row]:
    """Measure gRPC with each engine: pygrpc-native has a promise, grpcio is reported."""
    rows: list[Row] = []
    for engine, at_least in (("native", 1.5), ("grpcio", None)):
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
            mine, other = _serve(stack, Path(scratch), "--grpc-engine", engine)
            for concurrency in CONCURRENCIES:
                ours, theirs = alternate(
                    lambda: measure("identity", mine.grpc, "grpc", concurrency),  # noqa: B023  called at once
                    lambda: measure("identity_python", other.grpc, "grpc", concurrency),  # noqa: B023
                )
                rows.extend(_rows(f"gRPC {engine} identity, concurrency {concurrency}", ours, theirs, at_least))
    return rows
