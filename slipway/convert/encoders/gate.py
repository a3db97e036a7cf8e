"""The numeric gate: what a candidate gives against what the source gives, before anything is written.

Pure, over arrays: `run` is the candidate as it would be served. Every row of every case is compared with the same row
alone and without padding in the reference, and with itself alone in the candidate: an answer must not depend on whom
it shares a batch with.

Criteria (Thresholds): FP32 by the largest absolute difference, relative where outputs are large; reduced precision by
the label that wins and by direction: the mean over the rows, and a floor for the worst one. A row of many tokens is the
mean of theirs. What is a single number per row has no direction: the numbers of all rows are one vector then, centred,
so that their order counts and not their common size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays, Run
from slipway.convert.comparison import ShapeError, cosines, cut, distance
from slipway.convert.encoders.subject import Case, Interface, Subject
from slipway.convert.flow import GateVerdict
from slipway.convert.thresholds import COSINE_INT8_EMBEDDING, LABELS, LIMITS, TOLERANCE, WORST_COSINE, Thresholds
from slipway.errors import SlipwayError

_ALONE_ELEMENTS: Final = 1 << 12  # cases larger than this are not run again row by row: that would double the gate


def thresholds(precision: str, interface: Interface) -> Thresholds:
    """Return the criteria of a precision."""
    limit = LIMITS[precision]
    if precision == "fp32":
        return Thresholds(difference=limit.difference)
    cosine = COSINE_INT8_EMBEDDING if precision == "int8" and interface.embeds else limit.cosine
    agreement = LABELS if interface.compares_labels else 0.0
    return Thresholds(agreement=agreement, cosine=cosine, worst_cosine=WORST_COSINE)


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a candidate is from the reference over all rows; `batch_*` from itself alone.

    `difference` is relative to the largest output of its row where that is above 1.
    """

    rows: int = 0
    difference: float = 0.0
    worst_case: str = ""
    agreement: float = 1.0
    cosine: float = 1.0
    worst_cosine: float = 1.0
    batch_difference: float = 0.0
    batch_cosine: float = 1.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One case and what each of its rows must give."""

    case: Case
    rows: tuple[Arrays, ...]


def expectations(subject: Subject) -> list[Expectation]:
    """Ask the reference once for everything that candidates are compared with."""
    return [
        Expectation(case, tuple(_first_row(subject.reference(alone), subject.interface) for alone in case.alone))
        for case in subject.cases()
    ]


def judge(run: Run, expected: Sequence[Expectation], precision: str, interface: Interface) -> GateVerdict:
    """Return how a candidate of `precision` does. A candidate that fails to answer does not pass."""
    criteria = thresholds(precision, interface)
    comparison = _Comparison(interface)
    for expectation in expected:
        try:
            comparison.add(expectation, run)
        except SlipwayError as error:
            problem = f"it fails on {expectation.case.name}: {error.message}"
        except ShapeError as error:
            problem = f"{error} on {expectation.case.name}"
        else:
            continue
        return GateVerdict(comparison.figures(), (problem,), criteria)
    figures = comparison.figures()
    return GateVerdict(figures, tuple(_problems(figures, criteria)), criteria)


def _problems(figures: Figures, limits: Thresholds) -> Iterator[str]:
    """Yield what is broken; every comparison is written so that NaN breaks it."""
    if limits.difference:
        if not figures.difference <= limits.difference:
            yield (
                f"it differs from the reference by {figures.difference:.3g} on {figures.worst_case} "
                f"(allowed: {limits.difference:g})"
            )
        elif not figures.batch_difference <= limits.difference:
            found = f"{figures.batch_difference:.3g} (allowed: {limits.difference:g})"
            yield f"a row alone and in a batch differ by {found}"
    if limits.agreement and not figures.agreement >= limits.agreement:
        yield (
            f"the winning label is the reference's on {figures.agreement:.2%} of {figures.rows} rows "
            f"(required: {limits.agreement:.0%})"
        )
    if limits.cosine:
        if not figures.cosine >= limits.cosine:
            yield f"its cosine to the reference is {figures.cosine:.5f} (required: {limits.cosine:g})"
        if not figures.worst_cosine >= limits.worst_cosine:
            found = f"{figures.worst_cosine:.5f} (required: {limits.worst_cosine:g})"
            yield f"its cosine to the reference is as low as {found}"
        if not figures.batch_cosine >= limits.cosine:
            found = f"{figures.batch_cosine:.5f} (required: {limits.cosine:g})"
            yield f"the cosine of a row alone to itself in a batch is {found}"


class _Comparison:
    """Adds up the figures of one candidate."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._figures = Figures()
        self._agreements: list[np.ndarray] = []
        self._directions: dict[str, _Directions] = {}
        self._batch_directions: dict[str, _Directions] = {}

    def add(self, expectation: Expectation, run: Run) -> None:
        """Run one case and compare every row."""
        case = expectation.case
        answer = run(case.batch)
        small = max(array.size for array in case.batch.values()) <= _ALONE_ELEMENTS
        for row, (expected, alone) in enumerate(zip(expectation.rows, case.alone, strict=True)):
            found = {
                name: cut(name, _row(array, row, self._interface), expected[name]) for name, array in answer.items()
            }
            self._compare(case.name, found, expected)
            if small and len(case.alone) > 1:
                single = _first_row(run(alone), self._interface)
                self._compare_alone(found, {name: cut(name, array, found[name]) for name, array in single.items()})

    def _compare(self, name: str, found: Arrays, expected: Arrays) -> None:
        figures = self._figures
        difference = _distance(found, expected)
        worse = difference > figures.difference
        self._figures = replace(
            figures,
            rows=figures.rows + 1,
            difference=difference if worse else figures.difference,
            worst_case=name if worse else figures.worst_case,
        )
        for output, array in found.items():
            self._directions.setdefault(output, _Directions()).add(array, expected[output])
            if self._interface.compares_labels:
                self._agreements.append(np.ravel(array.argmax(-1) == expected[output].argmax(-1)))

    def _compare_alone(self, found: Arrays, single: Arrays) -> None:
        difference = max(self._figures.batch_difference, _distance(found, single))
        self._figures = replace(self._figures, batch_difference=difference)
        for output, array in found.items():
            self._batch_directions.setdefault(output, _Directions()).add(array, single[output])

    def figures(self) -> Figures:
        """Return the figures of all rows so far."""
        rows = [each.cosines() for each in self._directions.values()]
        batch = [each.cosines() for each in self._batch_directions.values()]
        return replace(
            self._figures,
            agreement=float(np.concatenate(self._agreements).mean()) if self._agreements else 1.0,
            cosine=_least([each.mean() for each in rows]),
            worst_cosine=_least([each.min() for each in rows]),
            batch_cosine=_least([each.mean() for each in batch]),
        )


def _least(of_outputs: Sequence[float]) -> float:
    """Return the least cosine of all outputs, NaN if one is; min() would lose it."""
    return float(np.min(of_outputs, initial=1.0))


def _row(array: np.ndarray, row: int, interface: Interface) -> np.ndarray:
    return np.asarray(array[row] if interface.max_batch_size else array)


def _first_row(answer: Arrays, interface: Interface) -> Arrays:
    return {name: _row(array, 0, interface) for name, array in answer.items()}


def _distance(found: Arrays, expected: Arrays) -> float:
    """Return the largest difference of one row over its outputs, each relative to its own largest value."""
    return max((distance(array, expected[name]).relative for name, array in found.items()), default=0.0)


class _Directions:
    """The cosines of one output's rows. Keeps numbers, not arrays: logits of a vocabulary are megabytes a row."""

    def __init__(self) -> None:
        self._rows: list[float] = []
        self._single: list[tuple[float, float]] = []

    def add(self, found: np.ndarray, expected: np.ndarray) -> None:
        """Take one row."""
        if found.size == 1:
            self._single.append((float(found.item()), float(expected.item())))
        elif found.size:
            # a vector of one element per token is a direction over the tokens
            lasts = (found.ravel(), expected.ravel()) if found.shape[-1] == 1 else (found, expected)
            self._rows.append(float(cosines(*lasts).mean()))

    def cosines(self) -> np.ndarray:
        """Return one cosine per row; one for all rows that are single numbers."""
        if not self._single:
            return np.array(self._rows or [1.0])
        one, other = np.array(self._single).T
        if len(one) == 1 or not np.ptp(other):  # nothing to be ordered
            return np.append(self._rows, 1.0 if distance(one, other).relative <= TOLERANCE else 0.0)
        numbers = other[np.isfinite(other)]
        centre = numbers.mean() if numbers.size else 0.0
        return np.append(self._rows, cosines(one - centre, other - centre))
