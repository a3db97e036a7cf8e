"""The gate of generation: compares a candidate's greedy ids with those of transformers before anything is written.

Every row is run alone, padded together with others in one request, and in one execution with other requests. float32
must match every id (except where scores are equal within float32). Reduced precision must match a share of them,
counted up to the first difference in each row. Pure, except for running the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.flow import GateVerdict
from slipway.convert.generation.reference import Generated
from slipway.convert.thresholds import TOKENS
from slipway.errors import SlipwayError
from slipway.runtime.generation_model import IDS, MASK

MAX_TOKENS: Final = 24  # generated per row

RunTogether = Callable[[Sequence[Arrays]], list[Arrays]]


@dataclass(frozen=True, slots=True)
class Question:
    """One row that the gate runs, and the expected ids."""

    ids: np.ndarray  # int64 [tokens]
    max_tokens: int
    expected: Generated


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of a candidate's ids match the reference: whole rows, and tokens before a row's first difference."""

    rows: int = 0
    same_rows: int = 0
    ties: int = 0  # rows whose first difference is between equal scores
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""

    @property
    def share(self) -> float:
        """Return the share of matching tokens; 1.0 if there are none."""
        return self.same_tokens / self.tokens if self.tokens else 1.0


@dataclass(slots=True)
class _Count:
    rows: int = 0
    same_rows: int = 0
    ties: int = 0
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, question: Question, found: Sequence[int]) -> None:
        expected = question.expected.ids
        same = next(
            (at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
            min(len(expected), len(found)),
        )
        self.rows += 1
        if tuple(found) == expected:
            self.same_rows += 1
        elif same < min(len(expected), len(found)) and found[same] in question.expected.ties[same]:
            self.ties += 1
            expected = expected[:same]  # after a tie, both are correct
        elif not self.first_difference:
            wanted = expected[same] if same < len(expected) else "the end"
            got = found[same] if same < len(found) else "the end"
            self.first_difference = f"{name}, token {same}: {got} instead of {wanted}"
        self.tokens += len(expected)
        self.same_tokens += same


def judge(run: RunTogether, questions: Sequence[Question], precision: str) -> GateVerdict:
    """Return the verdict on a candidate of `precision`. A candidate that fails to run does not pass."""
    count = _Count()
    for name, requests in _arrangements(questions):
        try:
            answers = run([_request(request) for request in requests])
        except SlipwayError as error:
            return GateVerdict(_agreement(count), (f"it fails on {name}: {error.message}",))
        for request, answer in zip(requests, answers, strict=True):
            for row, question in enumerate(request):
                length = int(answer["sequence_length"][row, 0])
                count.add(name, question, answer["output_ids"][row, 0, :length].tolist())
    agreement = _agreement(count)
    return GateVerdict(agreement, tuple(_problems(agreement, precision)))


def _arrangements(questions: Sequence[Question]) -> Iterator[tuple[str, list[list[Question]]]]:
    for index, question in enumerate(questions):
        yield f"row {index} alone ({len(question.ids)} tokens)", [[question]]
    for size in (2, 8):
        for start in range(0, len(questions) - 1, size):
            part = list(questions[start : start + size])
            yield f"rows {start} to {start + len(part) - 1} in one request", [part]
    yield "all rows as requests of one execution", [[question] for question in questions]


def _request(rows: Sequence[Question]) -> Arrays:
    """Return the rows as one padded request for greedy search, overriding the checkpoint's defaults."""
    longest = max(len(row.ids) for row in rows)
    ids = np.zeros((len(rows), longest), np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row.ids)] = row.ids
        mask[place, : len(row.ids)] = 1
    limits = np.array([[row.max_tokens] for row in rows], np.uint32)
    return {IDS: ids, MASK: mask, **greedy(limits)}


def greedy(max_tokens: np.ndarray, *, least: int = 0) -> Arrays:
    """Return the greedy search arguments of each row: `least` to `max_tokens` tokens (uint32 [rows, 1])."""
    whole = {"min_length": least, "beam_width": 1, "runtime_top_k": 0, "num_return_sequences": 1}
    real = {"runtime_top_p": 0.0, "temperature": 1.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    return {
        "max_output_len": max_tokens,
        **{name: np.full_like(max_tokens, value) for name, value in whole.items()},
        **{name: np.full(max_tokens.shape, value, np.float32) for name, value in real.items()},
    }


def _agreement(count: _Count) -> Agreement:
    return Agreement(count.rows, count.same_rows, count.ties, count.tokens, count.same_tokens, count.first_difference)


def _problems(found: Agreement, precision: str) -> Iterator[str]:
    if precision == "fp32" and found.same_rows + found.ties < found.rows:
        different = found.rows - found.same_rows - found.ties
        yield f"{different} of {found.rows} rows differ from transformers; first difference: {found.first_difference}"
    if precision != "fp32" and not found.share >= TOKENS:
        yield (
            f"{found.share:.1%} of the tokens match transformers up to the first difference in each row "
            f"(required: {TOKENS:.0%}); first difference: {found.first_difference}"
        )
