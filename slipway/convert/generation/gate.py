"""The gate of generation: compares a candidate's ids with those of transformers before anything is written.

Greedy rows are run alone, padded together with others in one request, and in one execution with other requests. Rows
with beam search, with sampling and with the checkpoint's own settings are run alone and in one execution. float32 must
match every id (except where scores are equal within float32). Reduced precision must match a share of the greedy ids,
counted up to the first difference in each row; beam search and sampling turn on smaller differences, so their rows are
only reported. Pure, except for running the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.flow import GateVerdict
from slipway.convert.generation.reference import Generated
from slipway.convert.thresholds import TOKENS, TOLERANCE
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError
from slipway.runtime.arguments import ARGUMENTS
from slipway.runtime.generation_model import IDS, MASK
from slipway.transformer.decoding.hypothesis import power_penalty

MAX_TOKENS: Final = 24  # generated per row
GREEDY: Final = "greedy"

RunTogether = Callable[[Sequence[Arrays]], list[Arrays]]


@dataclass(frozen=True, slots=True)
class Question:
    """One row that the gate runs, how it is searched, and the expected ids; `arguments` are those of its request."""

    ids: np.ndarray  # int64 [tokens]
    max_tokens: int
    expected: Generated
    way: str = GREEDY
    arguments: Mapping[str, Any] = field(default_factory=dict)
    length_penalty: float = 1.0  # for beam search


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of a candidate's ids match the reference: whole rows, and tokens before a row's first difference;
    `searched` counts the rows with beam search, with sampling and with the checkpoint's own settings."""

    rows: int = 0
    same_rows: int = 0
    ties: int = 0  # rows whose first difference is between equal scores
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""
    searched: Agreement | None = None

    @property
    def share(self) -> float:
        """Return the share of matching tokens; 1.0 if there are none."""
        return self.same_tokens / self.tokens if self.tokens else 1.0

    @property
    def different(self) -> int:
        """Return how many rows differ other than by a tie."""
        return self.rows - self.same_rows - self.ties


@dataclass(slots=True)
class _Count:
    rows: int = 0
    same_rows: int = 0
    ties: int = 0
    tokens: int = 0
    same_tokens: int = 0
    first_difference: str = ""

    def add(self, name: str, question: Question, found: Sequence[int], total: float) -> None:
        expected = question.expected.ids
        same = next(
            (at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
            min(len(expected), len(found)),
        )
        self.rows += 1
        if tuple(found) == expected:
            self.same_rows += 1
        elif self._tied(question, found, same, total):
            self.ties += 1
            expected = expected[:same]  # after a tie, both are correct
        elif not self.first_difference:
            wanted = expected[same] if same < len(expected) else "the end"
            got = found[same] if same < len(found) else "the end"
            self.first_difference = f"{name}, token {same}: {got} instead of {wanted}"
        self.tokens += len(expected)
        self.same_tokens += same

    def _tied(self, question: Question, found: Sequence[int], same: int, total: float) -> bool:
        """Return whether the row is as good: another token or another hypothesis has the same score."""
        expected = question.expected
        if expected.score is not None:
            reached = total / power_penalty(max(1, len(found)), question.length_penalty)
            return abs(reached - expected.score) <= TOLERANCE * max(1.0, abs(expected.score))
        return same < min(len(expected.ids), len(found)) and found[same] in expected.ties[same]

    def result(self, searched: Agreement | None = None) -> Agreement:
        return Agreement(
            self.rows, self.same_rows, self.ties, self.tokens, self.same_tokens, self.first_difference, searched
        )


def judge(run: RunTogether, questions: Sequence[Question], precision: str, least: float = TOKENS) -> GateVerdict:
    """Return the verdict on a candidate of `precision`. A candidate that fails to run does not pass."""
    greedy, searched = _Count(), _Count()
    for name, requests in _arrangements(questions):
        try:
            answers = run([_request(request) for request in requests])
        except SlipwayError as error:
            return GateVerdict(greedy.result(searched.result()), (f"it fails on {name}: {error.message}",))
        for request, answer in zip(requests, answers, strict=True):
            for row, question in enumerate(request):
                length = int(answer["sequence_length"][row, 0])
                total = float(answer["cum_log_probs"][row, 0]) if "cum_log_probs" in answer else 0.0
                count = greedy if question.way == GREEDY else searched
                count.add(name, question, answer["output_ids"][row, 0, :length].tolist(), total)
    agreement = greedy.result(searched.result() if searched.rows else None)
    return GateVerdict(agreement, tuple(_problems(agreement, precision, least)))


def _arrangements(questions: Sequence[Question]) -> Iterator[tuple[str, list[list[Question]]]]:
    plain = [question for question in questions if question.way == GREEDY]
    for index, question in enumerate(plain):
        yield f"row {index} alone ({len(question.ids)} tokens)", [[question]]
    for size in (2, 8):
        for start in range(0, len(plain) - 1, size):
            part = list(plain[start : start + size])
            yield f"rows {start} to {start + len(part) - 1} in one request", [part]
    for question in questions:
        if question.way != GREEDY:
            yield f"a row {question.way} ({len(question.ids)} tokens)", [[question]]
    yield "all rows as requests of one execution", [[question] for question in questions]


def _request(rows: Sequence[Question]) -> Arrays:
    """Return the rows as one padded request; greedy rows override the checkpoint's defaults."""
    longest = max(len(row.ids) for row in rows)
    ids = np.zeros((len(rows), longest), np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row.ids)] = row.ids
        mask[place, : len(row.ids)] = 1
    if rows[0].way != GREEDY:
        return {IDS: ids, MASK: mask, **_columns(rows[0].arguments, len(rows))}
    limits = np.array([[row.max_tokens] for row in rows], np.uint32)
    return {IDS: ids, MASK: mask, **greedy(limits)}


def _columns(arguments: Mapping[str, Any], rows: int) -> Arrays:
    kinds = {each.name: BY_NAME[each.datatype].numpy for each in ARGUMENTS}
    return {name: np.full((rows, 1), value, kinds[name]) for name, value in arguments.items()}


def greedy(max_tokens: np.ndarray, *, least: int = 0) -> Arrays:
    """Return the greedy search arguments of each row: `least` to `max_tokens` tokens (uint32 [rows, 1])."""
    whole = {"min_length": least, "beam_width": 1, "runtime_top_k": 0, "num_return_sequences": 1}
    real = {"runtime_top_p": 0.0, "temperature": 1.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    return {
        "max_output_len": max_tokens,
        **{name: np.full_like(max_tokens, value) for name, value in whole.items()},
        **{name: np.full(max_tokens.shape, value, np.float32) for name, value in real.items()},
    }


def _problems(found: Agreement, precision: str, least: float) -> Iterator[str]:
    if precision == "fp32" and found.different:
        yield (
            f"{found.different} of {found.rows} rows differ from transformers; "
            f"first difference: {found.first_difference}"
        )
    searched = found.searched
    if precision == "fp32" and searched is not None and searched.different:
        yield (
            f"{searched.different} of {searched.rows} rows with beam search, with sampling or with the checkpoint's "
            f"own settings differ from transformers; first difference: {searched.first_difference}"
        )
    if precision != "fp32" and not found.share >= least:
        yield (
            f"{found.share:.1%} of the tokens match transformers up to the first difference in each row "
            f"(required: {least:.0%}); first difference: {found.first_difference}"
        )
