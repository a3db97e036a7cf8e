"""Plan the scheduling of the chosen model on this machine: instances, threads, and tokens per batch.

Batches pay off only if a single row leaves cores or vector units idle; a CPU that one row keeps busy gains nothing from
a second one. So batches and parallel instances are measured, and the better choice is written into the config.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from slipway.convert.encoders.measure import real_lengths, tokens_per_row
from slipway.convert.encoders.subject import Subject
from slipway.convert.measure import rows_per_second_together, seconds_per_run
from slipway.convert.plan import Plan, Rate
from slipway.convert.runner import OpenModel
from slipway.cores import cpu_limit

PADDING_SHARE: Final = 0.1  # of a batch; padding costs at most this share of its time
_ENOUGH: Final = 0.95  # share of the best rate: beyond it, larger batches only add latency
_WORTH_LATENCY: Final = 1.15  # gain required of several instances, since they slow down a single request
_PAYS: Final = 1.05  # gain required of batching; otherwise requests run one by one
_SECONDS: Final = 0.4


Reopen = Callable[[int], OpenModel]  # opens the same model with that many instances


def plan_batching(reopen: Reopen, subject: Subject, lengths: Sequence[int]) -> Plan:
    """Measure batches on one instance, and single rows on one instance per core; return the plan with the best rate."""
    if subject.interface.max_batch_size < 2:
        return Plan(1, 0, why=subject.interface.unbatched or "the model has no batch dimension")
    with reopen(1) as model:
        rates = _rates(model, subject, lengths)
    cores = cpu_limit()
    if cores == 1:
        return decide(rates, (), cores)
    with reopen(cores) as model:
        return decide(rates, _instance_rates(model, subject, lengths), cores)


def _rates(model: OpenModel, subject: Subject, lengths: Sequence[int]) -> list[Rate]:
    sizes = [size for size in (1, 2, 4, 8, 16) if size <= subject.interface.max_batch_size]
    return [
        Rate(
            tokens_per_row(subject, length),
            rows,
            rows / seconds_per_run(model, subject.sample(length, rows), _SECONDS),
        )
        for length in real_lengths(subject, lengths)
        for rows in sizes
    ]


def _instance_rates(model: OpenModel, subject: Subject, lengths: Sequence[int]) -> list[Rate]:
    return [
        Rate(tokens_per_row(subject, length), 1, rows_per_second_together(model, subject.sample(length, 1), _SECONDS))
        for length in real_lengths(subject, lengths)
    ]


def decide(rates: Sequence[Rate], instance_rates: Sequence[Rate], cores: int) -> Plan:
    """Return the plan with the best measured rate. Pure."""
    lengths = sorted({rate.length for rate in rates})
    by_length = {length: [rate for rate in rates if rate.length == length] for length in lengths}
    best = {length: max(rate.rows_per_second for rate in rows) for length, rows in by_length.items()}
    knees = {length: _knee(rows, best[length]) for length, rows in by_length.items()}
    gain = {length: best[length] / rows[0].rows_per_second for length, rows in by_length.items()}
    together = {rate.length: rate.rows_per_second for rate in instance_rates}
    parallel = _mean([together[length] / best[length] for length in lengths]) if together else 0.0
    measured = (tuple(rates), tuple(instance_rates))
    if parallel >= _WORTH_LATENCY:
        why = f"{cores} instances with one thread each serve {parallel:.2f} times as many rows as one with batches"
        return Plan(cores, 0, *measured, why=why)
    if max(gain.values()) < _PAYS:
        why = f"batches serve at most {max(gain.values()):.2f} times the rows of single requests: no batching"
        return Plan(1, 0, *measured, why=why)
    tokens = max(length * rows for length, rows in knees.items() if gain[length] >= _PAYS)
    pays = ", ".join(f"{gain[length]:.2f} times as many rows at {length} tokens" for length in lengths)
    return Plan(1, tokens, *measured, why=f"batches serve {pays}; above {tokens} tokens per batch nothing is gained")


def _knee(rates: Sequence[Rate], best: float) -> int:
    return next(rate.rows for rate in rates if rate.rows_per_second >= _ENOUGH * best)


def _mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean, which is the right mean for ratios."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
