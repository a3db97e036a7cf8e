"""Identity FP32 [1,16] with binary tensors: Slipway and NVIDIA's tritonserver on the same machine in the same run.

Both servers keep running while the load alternates between them, so that a slow minute of the machine affects both.
Each figure is the median of `rounds` measurements. `beside=False` omits NVIDIA's server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.load import Measurement, measure
from benchmarks.reference import reference_server
from benchmarks.report import Row
from benchmarks.repositories import write_identity
from benchmarks.serving import Ports, running_server

CONCURRENCIES = (1, 8, 24)
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class _Servers:
    """Both servers; `theirs` is None if Slipway is measured alone."""

    ours: Ports
    theirs: Ports | None
    rounds: int

    def compare(
        self, name: str, model: str, protocol: str, concurrency: int, *, at_least: float | None
    ) -> Iterator[Row]:
        """Measure `model` and the reference's model.py in turns; yield the rate and, for 8 clients, the tail."""
        mine: list[Measurement] = []
        other: list[Measurement] = []
        for _ in range(self.rounds):
            mine.append(measure(model, getattr(self.ours, protocol), protocol, concurrency))
            if self.theirs is not None:
                other.append(measure("identity_python", getattr(self.theirs, protocol), protocol, concurrency))
        name = f"{name}, concurrency {concurrency}"
        rate = median(one.per_second for one in mine)
        reference = median(one.per_second for one in other) if other else None
        yield Row(name, rate, "req/s", reference, at_least=at_least)
        if concurrency == 8:
            yield Row(f"{name}: p99 / p50", median(one.p99_us / one.p50_us for one in mine), "", at_most=4.0)


@contextmanager
def _serving(rounds: int, *flags: str, beside: bool) -> Iterator[_Servers]:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        ours, theirs = Path(scratch) / "slipway", Path(scratch) / "reference"
        write_identity(ours, "identity", "identity")
        write_identity(ours, "identity_process", "python")
        write_identity(ours, "identity_thread", "python", thread_mode=True)
        mine = stack.enter_context(running_server(ours, *flags))
        other = None
        if beside:
            write_identity(theirs, "identity_python", "python")
            other, _ = stack.enter_context(reference_server(theirs, Path(scratch) / "reference.log"))
        yield _Servers(mine.ports, other, rounds)


def http(*, rounds: int = ROUNDS, beside: bool = True) -> list[Row]:
    """Measure HTTP: the identity backend at three concurrencies, and the same model.py in both execution modes."""
    with _serving(rounds, beside=beside) as servers:
        rows = []
        for concurrency in CONCURRENCIES:
            rows += servers.compare("HTTP identity", "identity", "http", concurrency, at_least=2.0)
        rows += servers.compare("HTTP model.py in a process", "identity_process", "http", 8, at_least=1.0)
        rows += servers.compare("HTTP model.py in a thread", "identity_thread", "http", 8, at_least=1.7)
        return rows


def grpc(*, rounds: int = ROUNDS, beside: bool = True) -> list[Row]:
    """Measure gRPC with each engine: the usual one and pygrpc-native have a target, grpcio is only reported."""
    rows: list[Row] = []
    for engine, at_least in (("asyncio", 1.5), ("native", 1.5), ("grpcio", None)):
        with _serving(rounds, "--grpc-engine", engine, beside=beside) as servers:
            for concurrency in CONCURRENCIES:
                rows += servers.compare(f"gRPC {engine} identity", "identity", "grpc", concurrency, at_least=at_least)
    return rows
