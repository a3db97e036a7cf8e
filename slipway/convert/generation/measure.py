"""Measure the tokens per second of a served model, for one row and for a batch, all of a fixed length."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.convert.generation.gate import greedy
from slipway.convert.generation.questions import random_ids
from slipway.convert.generation.source import GenerationSource
from slipway.convert.measure import seconds_per_run
from slipway.convert.runner import OpenModel
from slipway.convert.token_columns import TokenSpeed
from slipway.runtime.arguments import STOP
from slipway.runtime.generation_model import IDS, MASK

_BATCHES: Final = (1, 8)
_SOURCE: Final = 32  # tokens in the prompt or source
_NEW: Final = 32  # tokens generated
_SECONDS: Final = 1.5  # at most, per figure


def measure_tokens(model: OpenModel, source: GenerationSource) -> tuple[TokenSpeed, ...]:
    """Return the speed at each batch size."""
    return tuple(_speed(model, source, batch) for batch in _BATCHES)


def _speed(model: OpenModel, source: GenerationSource, batch: int) -> TokenSpeed:
    tokens = min(_SOURCE, source.max_length)
    new = min(_NEW, source.room(tokens))
    random = np.random.default_rng(batch)
    ids = np.stack([random_ids(source, tokens, random) for _ in range(batch)])
    limits = np.full((batch, 1), new, np.uint32)
    no_text = np.full((batch, 1), b"", np.object_)  # a stop text of the checkpoint could end a row early
    request = {IDS: ids, MASK: np.ones_like(ids), STOP: no_text, **greedy(limits, least=new)}
    return TokenSpeed(batch, tokens, new, batch * new / seconds_per_run(model, request, _SECONDS))
