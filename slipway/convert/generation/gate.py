"""The gate of generation: compares a candidate's ids with those of transformers before anything is written, and how
well it predicts real text.

Greedy rows are run alone, padded together with others in one request, and in one execution with other requests. Rows
with beam search, with sampling and with the checkpoint's own settings are run alone and in one execution. The criteria
are those of `agreement.py` and `perplexity.py`, and the first tokens of prompts. Pure, except for running the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from slipway.convert.agreement import Agreement, AgreementCount, Generated, disagreements
from slipway.convert.arrangements import arrangements
from slipway.convert.arrays import Arrays
from slipway.convert.flow import GateVerdict
from slipway.convert.perplexity import ScoredTexts, compare, perplexity_problems
from slipway.convert.thresholds import ACCURACY, BALANCED, NEAR, Strictness
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError
from slipway.runtime.arguments import ARGUMENTS
from slipway.runtime.generation_model import IDS, MASK, STATES
from slipway.transformer.decoding.hypothesis import power_penalty

MAX_TOKENS: Final = 24  # generated per row
GREEDY: Final = "greedy"
_REFERENCE: Final = "transformers"
_SEARCHED: Final = "with beam search, with sampling or with the checkpoint's own settings"

RunTogether = Callable[[Sequence[Arrays]], list[Arrays]]
Score = Callable[[Sequence[np.ndarray]], Sequence[float]]  # rows of ids -> their losses, as in `ScoredTexts`


@dataclass(frozen=True, slots=True)
class Question:
    """One row that the gate runs, how it is searched, and the expected ids; `arguments` are those of its request."""

    ids: np.ndarray  # int64 [tokens], or the encoder states of an image, float32 [tokens, size]
    max_tokens: int
    expected: Generated
    way: str = GREEDY
    arguments: Mapping[str, Any] = field(default_factory=dict)
    length_penalty: float = 1.0  # for beam search


def judge(
    run: RunTogether,
    questions: Sequence[Question],
    precision: str,
    asked: Strictness = ACCURACY[BALANCED],
    *,
    only_choices: bool = False,
) -> GateVerdict:
    """Return the verdict on the ids of a candidate of `precision`; `only_choices` is as in `AgreementCount`.

    A candidate that fails to run does not pass.
    """
    greedy, searched = AgreementCount(NEAR.get(precision, 0.0), only_choices), AgreementCount()
    unlikely = 0
    for name, requests in arrangements(questions, lambda row: "" if row.way == GREEDY else row.way):
        try:
            answers = run([_request(request) for request in requests])
        except SlipwayError as error:
            return GateVerdict(greedy.result(searched.result()), (f"it fails on {name}: {error.message}",))
        for request, answer in zip(requests, answers, strict=True):
            for row, question in enumerate(request):
                length = int(answer["sequence_length"][row, 0])
                total = float(answer["cum_log_probs"][row, 0]) if "cum_log_probs" in answer else 0.0
                unlikely += not math.isfinite(total)
                score = total / power_penalty(max(1, length), question.length_penalty)
                count = greedy if question.way == GREEDY else searched
                count.add(name, question.expected, answer["output_ids"][row, 0, :length].tolist(), score)
    agreement = greedy.result(searched.result() if searched.rows else None)
    problems = [f"the log-probabilities of {unlikely} rows are not finite"] if unlikely else []
    problems += disagreements(agreement, precision, asked.tokens, reference=_REFERENCE, searched=_SEARCHED)
    return GateVerdict(agreement, (*problems, *_first_tokens(agreement, precision, asked)))


def _first_tokens(found: Agreement, precision: str, asked: Strictness) -> Iterator[str]:
    """Yield a problem if too many prompts continue with another token."""
    if precision != "fp32" and not found.first_share >= asked.first_tokens:
        yield (
            f"{found.first_share:.1%} of the first tokens are those of {_REFERENCE} or almost as likely "
            f"(required: {asked.first_tokens:.0%})"
        )


def judge_texts(
    verdict: GateVerdict,
    score: Score,
    expected: ScoredTexts,
    precision: str,
    asked: Strictness = ACCURACY[BALANCED],
) -> GateVerdict:
    """Return the verdict on ids with that on real text added to it. A candidate that cannot score it does not pass."""
    try:
        losses = score(expected.rows)
    except SlipwayError as error:
        return replace(verdict, problems=(*verdict.problems, f"it fails to score real text: {error.message}"))
    found = compare(expected, losses)
    problems = perplexity_problems(found, precision, asked, reference=_REFERENCE)
    return replace(verdict, figures=replace(verdict.figures, perplexity=found), problems=(*verdict.problems, *problems))


def _request(rows: Sequence[Question]) -> Arrays:
    """Return the rows as one padded request; greedy rows override the checkpoint's defaults."""
    sources = _sources([row.ids for row in rows])
    if rows[0].way != GREEDY:
        return sources | _columns(rows[0].arguments, len(rows))
    limits = np.array([[row.max_tokens] for row in rows], np.uint32)
    return sources | greedy(limits)


def _sources(rows: Sequence[np.ndarray]) -> Arrays:
    """Return padded ids with their mask, or encoder states, which have one size."""
    if rows[0].ndim == 2:
        return {STATES: np.stack(rows)}
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return {IDS: ids, MASK: mask}


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
