"""The gate of tensor2tensor's models: a candidate's ids, compared with those of the plain network.

Greedy rows are run alone, padded together with others in one request, and in one execution with other requests; rows
with the model's own beam search alone and in one execution. The criteria are those of `agreement.py`; whoever compiles
for a server may add a deadline for the first batch. Pure, except for running the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.subwords import END_ID, PAD_ID
from slipway.convert.agreement import AgreementCount, Generated, disagreements
from slipway.convert.arrangements import arrangements
from slipway.convert.arrays import Arrays
from slipway.convert.flow import GateVerdict
from slipway.errors import SlipwayError
from slipway.runtime.tensor2tensor_model import IDS, OUTPUT_IDS, SCORES

REFERENCE: Final = "the reference"
_SEARCHED: Final = "with beam search"

RunTogether = Callable[[Sequence[Arrays]], list[Arrays]]


@dataclass(frozen=True, slots=True)
class TranslationQuestion:
    """One row, int64 [tokens], how it is searched, and what has to be found in at most `most` tokens."""

    ids: np.ndarray
    most: int
    expected: Generated
    beam_size: int = 1
    alpha: float = 0.0


def judge(
    run: RunTogether,
    questions: Sequence[TranslationQuestion],
    precision: str,
    least: float,
    *,
    first_batch_s: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> GateVerdict:
    """Return the verdict on a candidate of `precision`, which has not run yet.

    A candidate that fails to run does not pass, nor one whose first batch takes longer than `first_batch_s`.
    """
    greedy, searched = AgreementCount(), AgreementCount()
    problems: list[str] = []
    for place, (name, requests) in enumerate(
        arrangements(questions, lambda row: _SEARCHED if row.beam_size > 1 else "")
    ):
        started = clock()
        try:
            answers = run([_request(request) for request in requests])
        except SlipwayError as error:
            return GateVerdict(greedy.result(searched.result()), (f"it fails on {name}: {error.message}",))
        taken = clock() - started
        if place == 0 and first_batch_s is not None and taken > first_batch_s:
            problems.append(f"its first batch took {1000 * taken:.0f} ms, the limit is {1000 * first_batch_s:g} ms")
        for request, answer in zip(requests, answers, strict=True):
            for row, question in enumerate(request):
                count = greedy if question.beam_size == 1 else searched
                count.add(name, question.expected, _found(answer, row, question.most), float(answer[SCORES][row, 0]))
    agreement = greedy.result(searched.result() if searched.rows else None)
    criteria = disagreements(agreement, precision, least, reference=REFERENCE, searched=_SEARCHED)
    return GateVerdict(agreement, (*problems, *criteria))


def _way(question: TranslationQuestion) -> str:
    return _SEARCHED if question.beam_size > 1 else ""


def _request(rows: Sequence[TranslationQuestion]) -> Arrays:
    """Return the rows as one padded request; `extra_length` counts from its width."""
    width = max(len(row.ids) for row in rows)
    ids = np.full((len(rows), width), PAD_ID, np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row.ids)] = row.ids
    return {
        IDS: ids,
        "beam_size": np.array([[row.beam_size] for row in rows], np.int32),
        "alpha": np.array([[row.alpha] for row in rows], np.float32),
        "extra_length": np.array([[row.most - width] for row in rows], np.int32),
    }


def _found(answer: Arrays, row: int, most: int) -> list[int]:
    """Return the ids of the best hypothesis, with the end token if it has one."""
    ids: list[int] = answer[OUTPUT_IDS][row].reshape(-1, answer[OUTPUT_IDS].shape[-1])[0, :most].tolist()
    return ids[: ids.index(END_ID) + 1] if END_ID in ids else ids
