"""Find the fastest of several ways to compute: measured once per model and machine, remembered next to the model.

Neither more threads nor another engine is faster for every model on every processor. T5-base in int8 on two cores of
Zen 5, one row, tokens/s: CTranslate2 77 with one thread and 137 with two, torch 151. Knows no library: it times a
function.
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
GAIN: Final = 1.1  # a later choice must be this much faster: it takes threads from other work
FILE: Final = "trials.json"
SMALL: Final = 2**22  # parameters; for a smaller model a trial shows nothing
READ: Final = 64  # tokens in a trial's row if the model only reads it ...
GENERATED: Final = 8  # ... and if it generates: as many are read as are generated

_LOG: Final = logging.getLogger("slipway.transformer")
_one_at_a_time = threading.RLock()  # models that load together must not disturb each other's timings; trials may nest

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
    """Return the fastest choice and the model loaded that way; `run` is timed for each of `BATCHES`.

    Only one model is in memory at a time.
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
                del model  # its memory is freed before the next is loaded
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
    """Return a typical row: tokens that are not padding, decoded greedily if the model decodes."""
    tables = [stack.longest for stack in (spec.encoder, spec.decoder) if stack is not None]
    tokens = min([READ if spec.decoder is None else GENERATED, *(max(1, rows // 2) for rows in tables if rows)])
    ids = np.full(tokens, int(spec.input_stack.padding_id == 0), np.int64)
    return SequenceRequest(ids, None if spec.decoder is None else Decoding(tokens, start_id=0, end_id=-1))


def remembered(directory: Path, question: str) -> str:
    """Return the answer remembered for a machine like this one, "" if there is none."""
    try:
        answer = json.loads((directory / FILE).read_text())[_key(question)]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return answer if isinstance(answer, str) else ""


def remember(directory: Path, question: str, answer: str) -> None:
    """Remember the answer for the next start."""
    with _one_at_a_time:
        try:
            known = json.loads((directory / FILE).read_text())
        except (OSError, ValueError):
            known = None
        known = known if isinstance(known, dict) else {}  # a damaged file is replaced
        unfinished: Path | None = None
        try:
            with NamedTemporaryFile("w", dir=directory, prefix=FILE, delete=False) as file:
                unfinished = Path(file.name)
                json.dump({**known, _key(question): answer}, file)
            unfinished.rename(directory / FILE)
        except OSError as error:  # it is measured again next time
            if unfinished is not None:
                unfinished.unlink(missing_ok=True)
            _LOG.debug("cannot save the fastest choice: %s", error)


def _seconds(run: Callable[[], None], clock: Clock) -> float:
    """Return the shortest time of a few runs, after one to warm up."""
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
