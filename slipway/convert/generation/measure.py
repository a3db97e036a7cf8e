"""Measure the tokens per second of a served model, for one row and for a batch, all of a fixed length."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.generation.gate import greedy
from slipway.convert.generation.questions import random_ids
from slipway.convert.generation.source import GenerationSource
from slipway.convert.measure import seconds_per_run
from slipway.convert.runner import OpenModel
from slipway.convert.token_columns import TokenSpeed
from slipway.runtime.arguments import STOP
from slipway.runtime.generation_model import IDS, MASK

BATCHES: Final = (1, 8)
_SOURCE: Final = 32  # tokens in the prompt or source
NEW: Final = 32  # tokens generated
_SECONDS: Final = 1.5  # at most, per figure


def measure_tokens(model: OpenModel, source: GenerationSource) -> tuple[TokenSpeed, ...]:
    """Return the speed at each batch size."""
    return tuple(_speed(model, source, batch) for batch in BATCHES)


def _speed(model: OpenModel, source: GenerationSource, batch: int) -> TokenSpeed:
    tokens = min(_SOURCE, source.max_length)
    new = min(NEW, source.room(tokens))
    random = np.random.default_rng(batch)
    ids = np.stack([random_ids(source, tokens, random) for _ in range(batch)])
    return TokenSpeed(batch, tokens, new, generated_rate(model, {IDS: ids, MASK: np.ones_like(ids)}, new))


def generated_rate(model: OpenModel, sources: Arrays, new: int) -> float:
    """Return the tokens per second when `new` tokens are generated for each row of `sources`."""
    batch = len(next(iter(sources.values())))
    limits = np.full((batch, 1), new, np.uint32)
    no_text = np.full((batch, 1), b"", np.object_)  # a stop text of the checkpoint could end a row early
    request = {**sources, STOP: no_text, **greedy(limits, least=new)}
    return batch * new / seconds_per_run(model, request, _SECONDS)
