"""`python -m benchmarks [SECTION ...]`: run the sections, print tables with ratios, keep dated results."""

from __future__ import annotations

import argparse
import sys

from benchmarks.conversion import conversion
from benchmarks.encoder import overhead
from benchmarks.generation import generation
from benchmarks.generation_gpu import generation_gpu
from benchmarks.memory import memory
from benchmarks.reference import CannotRunError
from benchmarks.report import Row, save, table
from benchmarks.throughput import grpc, http

SECTIONS = {
    "http": http,
    "grpc": grpc,
    "encoder": overhead,
    "conversion": conversion,
    "generation": generation,
    "memory": memory,
}
ON_REQUEST = {"generation-gpu": generation_gpu}  # what a machine without the device cannot run


def main() -> int:
    """Run the chosen sections (all by default); return 1 when a promise was missed or a section could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS, *ON_REQUEST], help="default: all without a GPU")
    failed = False
    for name in parser.parse_args().sections or SECTIONS:
        print(f"== {name}", flush=True)
        try:
            rows: list[Row] = (SECTIONS | ON_REQUEST)[name]()
        except CannotRunError as error:
            print(f"cannot run: {error}")
            failed = True
            continue
        print(table(rows))
        print(f"kept in {save(name, rows)}", flush=True)
        failed |= any(row.verdict == "missed" for row in rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
