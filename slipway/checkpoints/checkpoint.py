"""The result of every reader: a specification, the weights, and the format's settings for decoding."""

from __future__ import annotations

from dataclasses import dataclass

from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One opened checkpoint. Arrays are read on access; `source` is its name in messages."""

    source: str
    spec: Transformer
    weights: Weights
