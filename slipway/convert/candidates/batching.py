"""Plan the scheduling of the chosen model on this machine: instances, threads, and tokens per batch.

Batches pay off only if a single row leaves cores or vector units idle; a CPU that one row keeps busy gains nothing from
a second one. So batches and parallel instances are measured, in alternating rounds, and the better choice is written
into the config. If the rounds differ too much, the safer plan is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from slipway.convert.arrays import Arrays
from slipway.convert.candidates.measure import fitting, real_lengths, tokens_per_row
from slipway.convert.candidates.subject import Subject
from slipway.convert.measure import in_rounds, rows_per_second_together, seconds_per_run
from slipway.convert.plan import Plan, Rate, Ratio
from slipway.convert.runner import OpenModel
from slipway.cores import cpu_limit

PADDING_SHARE: Final = 0.1  # of a batch; padding costs at most this share of its time
_ENOUGH: Final = 0.95  # share of the best rate: beyond it, larger batches only add latency
_WORTH_LATENCY: Final = 1.15  # gain required of several instances, since they slow down a single request
_PAYS: Final = 1.05  # gain required of batching; otherwise requests run one by one
_POSSIBLE: Final = 1.25  # times the rows of a batch, or the cores: a larger gain is a measurement error
_ROUNDS: Final = 5
_SECONDS: Final = 0.1  # per measurement and round


Reopen = Callable[[int], OpenModel]  # opens the same model with that many instances


def plan_batching(reopen: Reopen, subject: Subject, lengths: Sequence[int]) -> Plan:
    """Measure batches on one instance and single rows on one instance per core, in alternating rounds; return the plan
    with the best rate."""
    if subject.interface.max_batch_size < 2:
        return Plan(1, 0, why=subject.interface.unbatched or "the model has no batch dimension")
    cores = cpu_limit()
    with ExitStack() as opened:
        one = opened.enter_context(reopen(1))
        many = opened.enter_context(reopen(cores)) if cores > 1 else None
        return decide(*_rates(one, many, subject, lengths), cores, _counted(subject))


def _rates(
    one: OpenModel, many: OpenModel | None, subject: Subject, lengths: Sequence[int]
) -> tuple[list[Rate], list[Rate]]:
    """Return the rates of batches, and the rates of one instance per core."""
    most = {length: _most_rows(one, subject, length) for length in real_lengths(subject, lengths)}
    batches = [(length, rows) for length in most for rows in (1, 2, 4, 8, 16) if rows <= most[length]]
    alone = [length for length in real_lengths(subject, lengths) if many is not None]
    rounds = in_rounds(
        [
            *(partial(_batched, one, subject.sample(length, rows), rows) for length, rows in batches),
            *(partial(_together, many, subject.sample(length, 1)) for length in alone),
        ],
        _ROUNDS,
    )
    places = [*batches, *((length, 1) for length in alone)]
    rates = [
        Rate.of(tokens_per_row(subject, length), rows, measured)
        for (length, rows), measured in zip(places, rounds, strict=True)
    ]
    return rates[: len(batches)], rates[len(batches) :]


def _most_rows(model: OpenModel, subject: Subject, length: int) -> int:
    seconds = seconds_per_run(model, subject.sample(length, 1), _SECONDS, fewest=1)
    return fitting(subject.interface.max_batch_size, seconds)


def _batched(model: OpenModel, inputs: Arrays, rows: int) -> float:
    return rows / seconds_per_run(model, inputs, _SECONDS, fewest=1)


def _together(model: OpenModel | None, inputs: Arrays) -> float:
    return 0.0 if model is None else rows_per_second_together(model, inputs, _SECONDS, fewest=2)


def _counted(subject: Subject) -> str:
    """Return what the sizes of rows count: the values of a row are its tokens only if it is a text."""
    return "tokens" if subject.interface.unit == "tokens" else "values"


def decide(rates: Sequence[Rate], instance_rates: Sequence[Rate], cores: int, counted: str = "tokens") -> Plan:
    """Return the plan with the best measured rate, or the safer plan if the rounds differ too much; rows are so many
    `counted` long. Pure."""
    lengths = sorted({rate.length for rate in rates})
    by_length = {length: [rate for rate in rates if rate.length == length] for length in lengths}
    best = {length: max(rows, key=lambda rate: rate.rows_per_second) for length, rows in by_length.items()}
    gains = {length: _ratio([(best[length], rows[0])]) for length, rows in by_length.items()}
    together = {rate.length: rate for rate in instance_rates}
    parallel = _ratio([(together[length], best[length]) for length in lengths]) if together else Ratio(0, 0, 0)
    measured = (tuple(rates), tuple(instance_rates))
    said = f"one instance per core serves {parallel} as many rows as one with batches"
    doubt = _doubt(parallel, said, _WORTH_LATENCY, cores)
    if parallel.middle >= _WORTH_LATENCY and not doubt:
        why = (
            f"{cores} instances with one thread each serve {parallel.middle:.2f} times as many rows as one with batches"
        )
        return Plan(cores, 0, *measured, why=why)
    doubts = [doubt] if doubt else []
    paying = []
    for length, gain in gains.items():
        doubt = _doubt(
            gain,
            f"batches of {length}-{counted.removesuffix('s')} rows serve {gain} as many rows",
            _PAYS,
            best[length].rows,
        )
        doubts += [doubt] if doubt else []
        paying += [length] if gain.middle >= _PAYS and not doubt else []
    if not paying:
        return Plan(1, 0, *measured, why=_one_by_one(gains, doubts))
    tokens = max(length * _knee(by_length[length], best[length].rows_per_second) for length in paying)
    pays = ", ".join(f"{gains[length].middle:.2f} times as many rows at {length} {counted}" for length in paying)
    why = f"batches serve {pays}; above {tokens} {counted} per batch nothing is gained"
    return Plan(1, tokens, *measured, why="; ".join([why, *doubts]))


def _doubt(ratio: Ratio, said: str, worth: float, most: float) -> str:
    """Return why a gain is doubtful: its rounds lie on both sides of the required gain, or it is impossibly large.
    Return "" for a clear gain and for a ratio below the required gain."""
    if ratio.middle < worth:
        return ""
    return f"too noisy to tell: {said}" if ratio.low < worth or ratio.middle > _POSSIBLE * most else ""


def _one_by_one(gains: Mapping[int, Ratio], doubts: Sequence[str]) -> str:
    if doubts:
        return f"{'; '.join(doubts)}. Requests run one by one, the safer plan; convert again on an idle machine"
    most = max(gain.middle for gain in gains.values())
    return f"batches serve at most {most:.2f} times the rows of single requests: no batching"


def _ratio(pairs: Sequence[tuple[Rate, Rate]]) -> Ratio:
    """Return the speed of the first of each pair relative to the second: per round, the geometric mean over pairs."""
    rounds = [
        [one / other for one, other in zip(first.measured, second.measured, strict=True)] for first, second in pairs
    ]
    return Ratio.of([_mean(each) for each in zip(*rounds, strict=True)])


def _knee(rates: Sequence[Rate], best: float) -> int:
    return next(rate.rows for rate in rates if rate.rows_per_second >= _ENOUGH * best)


def _mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean, which is the right mean for ratios."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
