"""Sequences at once, of a Python model that sums them up: Slipway and NVIDIA's tritonserver side by side.

Each of 8 clients sends sequences of 20 requests, one request at a time. Both servers keep running while the load
alternates between them. Each figure is the median of `rounds` measurements. `beside=False` omits NVIDIA's server.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.load import measure
from benchmarks.reference import reference_server
from benchmarks.report import Row
from benchmarks.serving import running_server

ROUNDS = 3
AT_ONCE = 8
LENGTH = 20
STRATEGIES = {"direct": "direct { }", "oldest": f"oldest {{ max_candidate_sequences: {AT_ONCE} }}"}
LOAD = ("--sequence-length", str(LENGTH), "--sequence-length-variation", "0")
CONFIG = """backend: "python"
max_batch_size: %d
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 16 ] } ]
sequence_batching {
  %s
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
}
"""
MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def value(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        given = value("IN")
        if value("READY").item():
            key = value("CORRID").item()
            given = given if value("START").item() else given + self.sums[key]
            self.sums[key] = given
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", given)])
"""


def write_models(repository: Path) -> None:
    """Write a model for each strategy."""
    for name, strategy in STRATEGIES.items():
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL)
        (version.parent / "config.pbtxt").write_text(f'name: "{name}"\n{CONFIG % (AT_ONCE, strategy)}')


def sequences(*, rounds: int = ROUNDS, beside: bool = True) -> list[Row]:
    """Measure both strategies over both transports."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        repository = Path(scratch) / "models"
        write_models(repository)
        ours = stack.enter_context(running_server(repository)).ports
        theirs = None
        if beside:
            theirs, _ = stack.enter_context(reference_server(repository, Path(scratch) / "reference.log"))
        for strategy in STRATEGIES:
            for protocol in ("http", "grpc"):
                mine, other = [], []
                for _ in range(rounds):
                    mine.append(_rate(strategy, getattr(ours, protocol), protocol))
                    if theirs is not None:
                        other.append(_rate(strategy, getattr(theirs, protocol), protocol))
                name = f"{protocol} {strategy}, {AT_ONCE} sequences at once"
                rows.append(Row(name, median(mine), "req/s", median(other) if other else None, at_least=1.3))
    return rows


def _rate(model: str, port: int, protocol: str) -> float:
    return measure(model, port, protocol, AT_ONCE, extra=LOAD).per_second
