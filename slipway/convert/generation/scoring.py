"""Real text for the gate of models that continue a text, and what it costs a candidate: its engine is asked for the
log-probability of every token, so that damage shows which leaves the most likely token as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.config.parse import parse_config
from slipway.convert.configs import VERSION
from slipway.convert.generation.source import GenerationSource
from slipway.runtime.checkpoint_model import CACHE
from slipway.runtime.shared_engines import acquire_engine
from slipway.transformer.generation import SequenceRequest
from slipway.transformer.options import EngineOptions

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHORT: Final = 512  # tokens of single texts, together
_LONG: Final = 512  # tokens of the row in which the other texts follow each other, for windows and long positions
_ROWS: Final = 8  # scored in one call


def scored_rows(source: GenerationSource, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return real text as rows of ids, int64 [tokens]: single texts, and the others as one row as long as the model
    takes; no rows if the model has an encoder or no text has two tokens."""
    if not source.continues:
        return ()
    longest = min(_LONG, source.max_length)
    rows: list[np.ndarray] = []
    used = tokens = 0
    for text in texts:
        if tokens >= _SHORT:
            break
        rows.append(np.array(tokenizer.encode(text).ids[:longest], np.int64))
        used, tokens = used + 1, tokens + len(rows[-1])
    rest = "\n".join(texts[used:] or texts)
    rows.append(np.array(tokenizer.encode(rest).ids[:longest], np.int64))
    return tuple(row for row in rows if len(row) > 1)


def served_losses(directory: Path, rows: Sequence[np.ndarray]) -> list[float]:
    """Return the mean negative log-probability of each row's tokens after the first, in nats, as the engine computes it
    that serves the opened model in `directory`."""
    config = parse_config((directory / "config.pbtxt").read_text(), f"{directory.name}/config.pbtxt")
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    version = directory / VERSION
    options = EngineOptions.of(parameters, version / CACHE)
    shared = acquire_engine(version, read_huggingface(version), options, name=config.name)
    try:
        losses: list[float] = []
        for first in range(0, len(rows), _ROWS):
            losses += shared.engine.score([SequenceRequest(row) for row in rows[first : first + _ROWS]])
        return losses
    finally:
        shared.release()
