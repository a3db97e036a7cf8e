"""One measurement with perf_analyzer: requests per second and latencies in microseconds."""

from __future__ import annotations

import csv
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reference import CannotRunError, install_perf_analyzer

LATENCIES = {"p50": "p50 latency", "p90": "p90 latency", "p99": "p99 latency"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of perf_analyzer's report."""

    concurrency: int
    per_second: float
    p50_us: float
    p90_us: float
    p99_us: float


def measure(
    model: str, port: int, protocol: str, concurrency: int, *, seconds: float = 1.0, extra: tuple[str, ...] = ()
) -> Measurement:
    """Measure `model` at 127.0.0.1:`port` under `concurrency` parallel requests, over three windows of `seconds`.

    perf_analyzer reports nothing if its windows are unstable. That check is disabled, because the benchmarks judge the
    spread from repeated measurements.
    """
    program, env = install_perf_analyzer()
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.csv"
        command = [
            *(str(program), "-m", model, "-u", f"127.0.0.1:{port}", "-i", protocol),
            *("--concurrency-range", str(concurrency), "-f", str(report), "--percentile", "50"),
            *("--measurement-interval", str(int(seconds * 1000)), "--max-trials", "3", "--stability-percentage", "999"),
            *extra,
        ]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
        if not report.exists():
            raise CannotRunError(f"perf_analyzer measured nothing: {(done.stderr or done.stdout).strip()[-800:]}")
        with report.open(newline="") as rows:
            row = next(csv.DictReader(rows))
    return Measurement(
        concurrency,
        float(row["Inferences/Second"]),
        *(float(row[column]) for column in LATENCIES.values()),
    )
