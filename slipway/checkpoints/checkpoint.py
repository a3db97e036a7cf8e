"""What every reader gives: a specification, the weights, and what the format says about decoding."""

from __future__ import annotations

from dataclasses import dataclass

from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One opened checkpoint. Arrays are read when asked for; `source` names it in messages."""

    source: str
    spec: Transformer
    weights: Weights
