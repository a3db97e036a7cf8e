"""The tolerances of every gate in every wing, in one table.

A gate picks the criteria that suit its outputs (encoders/gate.py: rows of tensors, generation/gate.py: tokens,
module/gate.py: outputs). How much a precision may lose under each criterion is defined here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

TOLERANCE: Final = 1e-4  # FP32: allows another order of summation; relative to the largest output if that exceeds 1
COSINE: Final = 0.999
COSINE_INT8_EMBEDDING: Final = 0.995  # vectors whose consumers compare directions
WORST_COSINE: Final = 0.8  # for any row; MiniLM in int8 reaches 0.93 on a row of one random token
LABELS: Final = 0.99  # share of rows whose winning label must stay the same
TOKENS: Final = 0.9  # share of generated tokens before a row's first difference; FP32 must match all


@dataclass(frozen=True, slots=True)
class Limit:
    """How far a precision may deviate: the largest relative `difference` (comparison.py) and the smallest cosine."""

    difference: float
    cosine: float = COSINE


# Of the reduced types, only FP16 has a bound on single values: the error of int8 and bfloat16 grows with the range of
# the tensor, but the direction must be preserved.
LIMITS: Final = {
    "fp32": Limit(TOLERANCE),
    "fp16": Limit(1e-2),
    "bf16": Limit(np.inf),
    "int8": Limit(np.inf),
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The criteria for a candidate whose outputs are tensors; 0 disables a criterion."""

    difference: float = 0.0
    agreement: float = 0.0
    cosine: float = 0.0
    worst_cosine: float = 0.0
