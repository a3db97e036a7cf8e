"""Hold a converted model to its reference: how far apart they are, and whether that is allowed.

The comparison is pure, over arrays; running ONNX files is onnxruntime's work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.convert.module.io_config import ModelIo
from slipway.convert.module.reference import ID_LIMITS, Arrays, Case, example
from slipway.core.table import render_table
from slipway.errors import SlipwayError, invalid

_COSINE: Final = 0.999

Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a precision may differ by: `difference` absolute, or relative to outputs larger than one; `cosine`."""

    name: str
    difference: float
    cosine: float

    def allows(self, figure: Figure) -> bool:
        """Return whether the figure is within both."""
        return figure.difference <= self.difference * max(1.0, figure.largest) and figure.cosine >= self.cosine


# int8 has no bound on single values: they move with the range of a tensor, the direction must not.
LIMITS: Final = {
    "fp32": Limit("fp32", 1e-4, _COSINE),
    "fp16": Limit("fp16", 1e-2, _COSINE),
    "int8": Limit("int8", np.inf, _COSINE),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One output on one input: largest absolute difference, cosine, largest absolute value of the reference."""

    case: str
    output: str
    difference: float
    cosine: float
    largest: float


def compare(case: str, output: str, found: np.ndarray, expected: np.ndarray) -> Figure:
    """Return how far `found` is from `expected`; an array of another shape, or a NaN of its own, is infinitely far."""
    if found.shape != expected.shape:
        return Figure(case, output, np.inf, 0.0, 0.0)
    one, other = found.astype(np.float64), expected.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):  # infinity less infinity, which `same` puts right
        apart = np.abs(np.where(same, 0.0, one - other))
    difference = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0.0))
    usable = np.isfinite(one) & np.isfinite(other)
    largest = float(np.abs(other[usable]).max(initial=0.0))
    return Figure(case, output, difference, _cosine(one[usable], other[usable]), largest)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if lengths == 0.0:
        return 1.0 if np.array_equal(one, other) else 0.0
    return float(np.dot(one, other)) / lengths


def measure(cases: Sequence[Case], run: Run) -> list[Figure]:
    """Return the figures of every output of every case."""
    figures = []
    for case in cases:
        answer = run(case.inputs)
        figures += [compare(case.name, name, answer[name], expected) for name, expected in case.expected.items()]
    return figures


def judge(what: str, figures: Sequence[Figure], limit: Limit) -> None:
    """Raise INVALID_ARG with the figures of the worst that is over the limit."""
    bad = [figure for figure in figures if not limit.allows(figure)]
    if bad:
        worst = max(bad, key=lambda figure: (figure.difference, -figure.cosine))
        allowed = f"{limit.difference * max(1.0, worst.largest):.1e}" if np.isfinite(limit.difference) else "any"
        raise invalid(
            f"{what} is refused: output '{worst.output}' at {worst.case} differs from the model by "
            f"{worst.difference:.3g} (allowed: {allowed}) with a cosine of {worst.cosine:.6f} (at least "
            f"{limit.cosine}); nothing was written"
        )


def figures_table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table."""
    rows = [(each.case, each.output, f"{each.difference:.1e}", f"{each.cosine:.6f}") for each in figures]
    return render_table(("input", "output", "largest difference", "cosine"), rows)


def onnx_runner(path: Path) -> tuple[Any, Run]:
    """Return an onnxruntime session of `path` and a function that runs it with the inputs that the graph has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors are private classes
        text = " ".join(str(error).split())
        raise invalid(f"onnxruntime cannot open '{path.name}': {text[:300]}") from error
    wanted = [each.name for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        try:
            answer = session.run(None, {name: arrays[name] for name in wanted})
        except Exception as error:
            rows = len(next(iter(arrays.values())))
            text = " ".join(str(error).split())
            raise invalid(f"the exported model fails with a batch of {rows}: {text[:300]}") from error
        return dict(zip(outputs, answer, strict=True))

    return session, run


def graph_cases(path: Path, io: ModelIo, *, rows: Sequence[int], length: int) -> list[Case]:
    """Return examples of these batch sizes with the answers of an ONNX file: it stands for the model where the model
    was not built in this run."""
    _, run = onnx_runner(path)
    for limit in ID_LIMITS:
        inputs = [example(io.inputs, rows=each, length=length, limit=limit) for each in rows]
        try:
            return [Case(f"batch {each}", arrays, run(arrays)) for each, arrays in zip(rows, inputs, strict=True)]
        except SlipwayError:  # an id that the embedding has not
            if limit == ID_LIMITS[-1]:
                raise
    return []
