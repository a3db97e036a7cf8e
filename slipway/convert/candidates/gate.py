"""The numeric gate: compares a candidate's outputs with those of the source before anything is written.

Pure, over arrays: `run` is the candidate as it would be served. Every row of every case is compared with the reference
output for the same row, run alone and without padding. It is also compared with the candidate's own output for the row
alone, because a result must not depend on the other rows in the batch.

Criteria (Thresholds): FP32 is judged by the largest absolute difference, relative if outputs are large. Reduced
precision is judged by the winning label and by the cosine: its mean over all rows, and a floor for the worst row.
Embeddings are also judged by each text's nearest neighbour among the other texts. The cosine of a row with many tokens
is the mean over its tokens. A single number per row has no direction, so the numbers of all rows form one centred
vector: their order counts, and not their common offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays, Run
from slipway.convert.candidates.subject import Case, Interface, Matching, Subject
from slipway.convert.comparison import ShapeError, cosines, cut, distance
from slipway.convert.flow import GateVerdict
from slipway.convert.thresholds import ACCURACY, BALANCED, LIMITS, TOLERANCE, Thresholds
from slipway.errors import SlipwayError

_TIE: Final = 1e-6  # cosines this close count as equal, given the rounding of FP32
_ALONE_ELEMENTS: Final = 1 << 12  # larger cases are not run again row by row, which would double the time


def thresholds(precision: str, interface: Interface, accuracy: str = BALANCED) -> Thresholds:
    """Return the criteria for a precision at an `accuracy` level; FP32 has the same criteria at every level."""
    if precision == "fp32":
        return Thresholds(difference=LIMITS[precision].difference)
    asked = ACCURACY[accuracy]
    return Thresholds(
        agreement=asked.labels if interface.compares_labels else 0.0,
        cosine=asked.embedding if precision == "int8" and interface.embeds else asked.cosine,
        worst_cosine=asked.worst,
        neighbours=asked.neighbours if interface.embeds else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """The distance of a candidate from the reference over all rows; `batch_*` compare its rows in a batch and alone.

    `difference` is relative to the largest output of its row if that exceeds 1; `neighbours` is the share of `texts`
    (rows of real text with one vector each) that have the same nearest neighbour as in the reference.
    """

    rows: int = 0
    difference: float = 0.0
    worst_case: str = ""
    agreement: float = 1.0
    cosine: float = 1.0
    worst_cosine: float = 1.0
    worst_row: str = ""
    texts: int = 0
    neighbours: float = 1.0
    batch_difference: float = 0.0
    batch_cosine: float = 1.0
    sampled: str = "texts"  # what `texts` are
    results: int = 0  # labels or objects of the reference that `agreement` counts
    matched: bool = False  # they are objects


@dataclass(frozen=True, slots=True)
class Expectation:
    """One case and the expected outputs of each of its rows."""

    case: Case
    rows: tuple[Arrays, ...]


def expectations(subject: Subject) -> list[Expectation]:
    """Run the reference once on every row of every case."""
    return [
        Expectation(case, tuple(_first_row(subject.reference(alone), subject.interface) for alone in case.alone))
        for case in subject.cases()
    ]


def judge(
    run: Run, expected: Sequence[Expectation], precision: str, interface: Interface, accuracy: str = BALANCED
) -> GateVerdict:
    """Return the verdict on a candidate of `precision`. A candidate that fails to run does not pass."""
    criteria = thresholds(precision, interface, accuracy)
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
    """Yield the criteria that fail; every comparison is written so that NaN fails it."""
    if limits.difference:
        if not figures.difference <= limits.difference:
            yield (
                f"it differs from the reference by {figures.difference:.3g} on {figures.worst_case} "
                f"(allowed: {limits.difference:g})"
            )
        elif not figures.batch_difference <= limits.difference:
            found = f"{figures.batch_difference:.3g} (allowed: {limits.difference:g})"
            yield f"a row alone differs from the same row in a batch by {found}"
    if limits.agreement and not figures.agreement >= limits.agreement:
        yield (
            f"its winning label matches the reference on {figures.agreement:.2%} of {figures.rows} rows "
            f"(required: {limits.agreement:.0%})"
        )
    if limits.neighbours and not figures.neighbours >= limits.neighbours:
        yield (
            f"the nearest neighbour is the reference's for {figures.neighbours:.2%} of {figures.texts} sample "
            f"{figures.sampled} "
            f"(required: {limits.neighbours:.0%})"
        )
    if limits.cosine:
        if not figures.cosine >= limits.cosine:
            yield f"its cosine to the reference is {figures.cosine:.5f} (required: {limits.cosine:g})"
        if not figures.worst_cosine >= limits.worst_cosine:
            found = f"{figures.worst_cosine:.5f} (required: {limits.worst_cosine:g})"
            yield f"its worst row's cosine to the reference is {found}"
        if not figures.batch_cosine >= limits.cosine:
            found = f"{figures.batch_cosine:.5f} (required: {limits.cosine:g})"
            yield f"the cosine between a row alone and the same row in a batch is {found}"


class _Comparison:
    """Accumulates the figures of one candidate."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._figures = Figures()
        self._agreements: list[np.ndarray] = []
        self._vectors: list[tuple[np.ndarray, np.ndarray]] = []  # found and expected, for real texts
        self._lowest = 1.0
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
            found = self._aligned(found, expected)
            self._compare(case.name, row, found, expected)
            if case.texts and self._interface.embeds:
                self._vectors += [(each, expected[name]) for name, each in found.items() if each.ndim == 1]
            if small and len(case.alone) > 1:
                single = _first_row(run(alone), self._interface)
                single = {name: cut(name, array, found[name]) for name, array in single.items()}
                self._compare_alone(found, self._aligned(single, found))

    def _aligned(self, found: Arrays, expected: Arrays) -> Arrays:
        matching = self._interface.matching
        return matching.aligned(found, expected) if matching else found

    def _compare(self, name: str, row: int, found: Arrays, expected: Arrays) -> None:
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
            cosine = self._directions.setdefault(output, _Directions()).add(array, expected[output])
            if cosine < self._lowest:
                self._lowest = cosine
                self._figures = replace(self._figures, worst_row=f"{name}, row {row}")
            if self._interface.compares_labels and self._interface.matching is None:
                self._agreements.append(np.ravel(array.argmax(-1) == expected[output].argmax(-1)))
        if self._interface.matching is not None:
            self._agreements.append(self._interface.matching.kept(found, expected))

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
            agreement=_share(self._agreements),
            cosine=_least([each.mean() for each in rows]),
            worst_cosine=_least([each.min() for each in rows]),
            texts=len(self._vectors),
            neighbours=_neighbours_kept(self._vectors),
            batch_cosine=_least([each.mean() for each in batch]),
            sampled=self._interface.sampled,
            results=sum(each.size for each in self._agreements),
            matched=self._interface.matching is not None,
        )


def no_results(expected: Sequence[Expectation], matching: Matching) -> bool:
    """Return whether the reference found nothing in any row, so that only the directions of outputs are compared."""
    return not any(matching.kept(row, row).size for expectation in expected for row in expectation.rows)


def _share(agreements: Sequence[np.ndarray]) -> float:
    """Return the share of results that agree, 1 if there are none."""
    every = np.concatenate([np.empty(0, np.bool_), *agreements])
    return float(every.mean()) if every.size else 1.0


def _least(of_outputs: Sequence[float]) -> float:
    """Return the smallest cosine of all outputs, or NaN if one is NaN, which min() could lose."""
    return float(np.min(of_outputs, initial=1.0))


def _neighbours_kept(vectors: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the share of texts whose nearest neighbour by cosine is the reference's, or ties with it in FP32."""
    if len(vectors) < 3:  # two texts are always each other's nearest neighbour
        return 1.0
    found, expected = (_similarities([pair[side] for pair in vectors]) for side in (0, 1))
    if not np.isfinite(found[~np.eye(len(found), dtype=bool)]).all():
        return 0.0
    rows = np.arange(len(vectors))
    lost = expected.max(1) - expected[rows, found.argmax(1)]
    return float((lost <= _TIE).mean())


def _similarities(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the cosine of each pair of different vectors, and -inf on the diagonal."""
    stacked = np.stack(vectors).astype(np.float64)
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    stacked = stacked / np.where(lengths == 0, 1.0, lengths)
    similar = stacked @ stacked.T
    np.fill_diagonal(similar, -np.inf)
    return np.asarray(similar)


def _row(array: np.ndarray, row: int, interface: Interface) -> np.ndarray:
    return np.asarray(array[row] if interface.max_batch_size else array)


def _first_row(answer: Arrays, interface: Interface) -> Arrays:
    return {name: _row(array, 0, interface) for name, array in answer.items()}


def _distance(found: Arrays, expected: Arrays) -> float:
    """Return the largest difference of one row over its outputs, each relative to its own largest value."""
    return max((distance(array, expected[name]).relative for name, array in found.items()), default=0.0)


class _Directions:
    """The cosines of one output's rows. Keeps numbers, not arrays: logits over a vocabulary take megabytes per row."""

    def __init__(self) -> None:
        self._rows: list[float] = []
        self._single: list[tuple[float, float]] = []

    def add(self, found: np.ndarray, expected: np.ndarray) -> float:
        """Add one row; return its cosine, or 1 for a single number."""
        if found.size == 1:
            self._single.append((float(found.item()), float(expected.item())))
        elif found.size:
            # one element per token: the direction is over the tokens
            lasts = (found.ravel(), expected.ravel()) if found.shape[-1] == 1 else (found, expected)
            self._rows.append(float(cosines(*lasts).mean()))
            return self._rows[-1]
        return 1.0

    def cosines(self) -> np.ndarray:
        """Return one cosine per row, and a single one for all rows that are single numbers."""
        if not self._single:
            return np.array(self._rows or [1.0])
        one, other = np.array(self._single).T
        if len(one) == 1 or not np.ptp(other):  # no order to compare
            return np.append(self._rows, 1.0 if distance(one, other).relative <= TOLERANCE else 0.0)
        numbers = other[np.isfinite(other)]
        centre = numbers.mean() if numbers.size else 0.0
        return np.append(self._rows, cosines(one - centre, other - centre))
