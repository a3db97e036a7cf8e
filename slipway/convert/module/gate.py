"""Compare a converted model with its reference: every output must be close in value and in direction.

Distances are computed in comparison.py; the limits are in thresholds.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slipway.convert.arrays import Arrays, Run
from slipway.convert.comparison import Distance, cosine, distance
from slipway.convert.module.io_config import ModelIo
from slipway.convert.module.reference import ID_LIMITS, Example, example
from slipway.convert.onnx_file import open_session
from slipway.convert.thresholds import Limit
from slipway.core.table import render_table
from slipway.errors import SlipwayError, invalid


@dataclass(frozen=True, slots=True)
class Figure:
    """The distance of one output from the reference output on one input."""

    case: str
    output: str
    distance: Distance
    cosine: float

    def within(self, limit: Limit) -> bool:
        """Return whether both the difference and the cosine are within the limit; NaN is not."""
        return self.distance.relative <= limit.difference and self.cosine >= limit.cosine


def compare(case: str, output: str, found: np.ndarray, expected: np.ndarray) -> Figure:
    """Return the distance of `found` from `expected`."""
    return Figure(case, output, distance(found, expected), cosine(found, expected))


def measure(examples: Sequence[Example], run: Run) -> list[Figure]:
    """Return the figures for every output of every example."""
    figures = []
    for each in examples:
        answer = run(each.inputs)
        figures += [compare(each.name, name, answer[name], expected) for name, expected in each.expected.items()]
    return figures


def judge(what: str, figures: Sequence[Figure], limit: Limit) -> None:
    """Raise INVALID_ARG with the worst figures if any are over the limit."""
    bad = [figure for figure in figures if not figure.within(limit)]
    if bad:
        worst = max(bad, key=lambda figure: (figure.distance.absolute, -figure.cosine))
        allowed = limit.difference * worst.distance.scale
        raise invalid(
            f"{what} is refused: output '{worst.output}' on {worst.case} differs from the reference by "
            f"{worst.distance.absolute:.3g} (allowed: {f'{allowed:.1e}' if np.isfinite(allowed) else 'any'}), with a "
            f"cosine of {worst.cosine:.6f} (required: {limit.cosine}); nothing was written"
        )


def figures_table(figures: Sequence[Figure], width: int) -> str:
    """Return the figures as a table whose lines are at most `width` characters long."""
    rows = [(each.case, each.output, f"{each.distance.absolute:.1e}", f"{each.cosine:.6f}") for each in figures]
    return render_table(("input", "output", "largest difference", "cosine"), rows, width)


def onnx_runner(path: Path) -> tuple[Any, Run]:
    """Return an onnxruntime session for `path`, and a function that runs it with the inputs in the graph."""
    session = open_session(path)
    wanted = [each.name for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        try:
            answer = session.run(None, {name: arrays[name] for name in wanted})
        except Exception as error:
            rows = len(next(iter(arrays.values())))
            text = " ".join(str(error).split())
            raise invalid(f"the exported model fails on a batch of {rows}: {text[:300]}") from error
        return dict(zip(outputs, answer, strict=True))

    return session, run


def graph_examples(path: Path, io: ModelIo, *, rows: Sequence[int], length: int) -> list[Example]:
    """Return examples of these batch sizes with the outputs of an ONNX file as the expected ones, because the PyTorch
    model may not have been built in this run."""
    _, run = onnx_runner(path)
    for limit in ID_LIMITS:
        inputs = [example(io.inputs, rows=each, length=length, limit=limit) for each in rows]
        try:
            return [Example(f"batch {each}", arrays, run(arrays)) for each, arrays in zip(rows, inputs, strict=True)]
        except SlipwayError:  # an id outside the embedding table
            if limit == ID_LIMITS[-1]:
                raise
    return []
