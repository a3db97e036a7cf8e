"""What is near enough: one table of numbers for every gate of every wing.

A gate picks the questions that make sense for what it compares (encoders/gate.py: rows of tensors, generation/gate.py:
tokens, module/gate.py: outputs); what a precision may lose at a question is said here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

TOLERANCE: Final = 1e-4  # FP32: sums in another order; relative to the largest output where that is above 1
COSINE: Final = 0.999
COSINE_INT8_EMBEDDING: Final = 0.995  # of vectors that are compared by their direction among others
WORST_COSINE: Final = 0.8  # of any row; MiniLM in int8 has 0.93 on a row of one random token
LABELS: Final = 0.99  # share of rows whose winning label may not change
TOKENS: Final = 0.9  # share of generated tokens before a row takes another way; FP32 must give every one


@dataclass(frozen=True, slots=True)
class Limit:
    """What a precision may differ by: `difference` relative as in comparison.py, and the least cosine."""

    difference: float
    cosine: float = COSINE


# Of reduced types only FP16 has a bound on single values: those of int8 and bfloat16 move with the range of a tensor,
# the direction must not.
LIMITS: Final = {
    "fp32": Limit(TOLERANCE),
    "fp16": Limit(1e-2),
    "bf16": Limit(np.inf),
    "int8": Limit(np.inf),
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a candidate whose outputs are tensors must hold; 0 where a figure is not asked for."""

    difference: float = 0.0
    agreement: float = 0.0
    cosine: float = 0.0
    worst_cosine: float = 0.0
