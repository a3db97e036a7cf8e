"""Which of several ways to compute is the fastest: measured once per model and machine, remembered beside the model.

Neither more threads nor another engine is faster for every model on every processor. T5-base in int8 on two cores of
Zen 5, one row, tokens/s: CTranslate2 77 with one thread and 137 with two, torch 151. Knows no library: what is timed is
a function.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, TypeVar

import numpy as np

from slipway.cores import cpu_limit
from slipway.machine import processor_name
from slipway.transformer.generation import Decoding, SequenceRequest
from slipway.transformer.spec import Transformer

BATCHES: Final = (1, 8)
SECONDS: Final = 0.3  # per batch size
REPEATS: Final = 3
GAIN: Final = 1.1  # a later choice must be worth it: more threads are taken from what else runs
FILE: Final = "trials.json"
SMALL: Final = 2**22  # parameters; below, a model is too small for a trial to tell anything
READ: Final = 64  # tokens of a trial's row that is only read ...
GENERATED: Final = 8  # ... and of one that is continued, as many as it is continued by

_LOG: Final = logging.getLogger("slipway.transformer")
_one_at_a_time = threading.RLock()  # models that load together must not time each other; a way may try its own

Choice = TypeVar("Choice")
Model = TypeVar("Model")
Clock = Callable[[], float]


def fastest(
    choices: Sequence[Choice],
    load: Callable[[Choice], Model],
    run: Callable[[Model, int], None],
    release: Callable[[Model], None],
    *,
    clock: Clock = time.perf_counter,
) -> tuple[Choice, Model]:
    """Return the best choice and the model loaded that way; `run` is timed for each of `BATCHES`.

    One model is in memory at a time.
    """
    with _one_at_a_time:
        costs: dict[Choice, float] = {}
        for choice in choices:
            model = load(choice)
            try:
                costs[choice] = prod([_seconds(partial(run, model, batch), clock) for batch in BATCHES])
            except BaseException:
                release(model)
                raise
            if choice != choices[-1]:
                release(model)
                del model  # its memory goes before the next is loaded
        best = choices[0]
        for choice in choices[1:]:
            if costs[choice] * GAIN ** len(BATCHES) < costs[best]:
                best = choice
        _LOG.debug("%s took %s", list(costs), list(costs.values()))
        if best == choices[-1]:
            return best, model
        release(model)
        del model
    return best, load(best)


def trial_row(spec: Transformer) -> SequenceRequest:
    """Return a row as most are: tokens that are not padding, decoded greedily if the model decodes."""
    tables = [stack.position_rows for stack in (spec.encoder, spec.decoder) if stack is not None]
    tokens = min([READ if spec.decoder is None else GENERATED, *(max(1, rows // 2) for rows in tables if rows)])
    ids = np.full(tokens, int(spec.input_stack.padding_id == 0), np.int64)
    return SequenceRequest(ids, None if spec.decoder is None else Decoding(tokens, start_id=0, end_id=-1))


def remembered(directory: Path, question: str) -> str:
    """Return what was answered on a machine like this one, "" when nothing was."""
    try:
        answer = json.loads((directory / FILE).read_text())[_key(question)]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return answer if isinstance(answer, str) else ""


def remember(directory: Path, question: str, answer: str) -> None:
    """Keep what was measured for the next start."""
    with _one_at_a_time:
        try:
            known = json.loads((directory / FILE).read_text())
        except (OSError, ValueError):
            known = None
        known = known if isinstance(known, dict) else {}  # a damaged file is written anew
        unfinished: Path | None = None
        try:
            with NamedTemporaryFile("w", dir=directory, prefix=FILE, delete=False) as file:
                unfinished = Path(file.name)
                json.dump({**known, _key(question): answer}, file)
            unfinished.rename(directory / FILE)
        except OSError as error:  # measured again next time
            if unfinished is not None:
                unfinished.unlink(missing_ok=True)
            _LOG.debug("cannot remember which way is the fastest: %s", error)


def _seconds(run: Callable[[], None], clock: Clock) -> float:
    """Return the shortest of a few runs after one that warms up."""
    run()
    shortest, end = float("inf"), clock() + SECONDS
    for _ in range(REPEATS):
        start = clock()
        run()
        now = clock()
        shortest = min(shortest, now - start)
        if now > end:
            break
    return shortest


def _key(question: str) -> str:
    return f"{question} on {processor_name()}, {cpu_limit()} cores"
