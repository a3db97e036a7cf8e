"""The tolerances of every gate in every wing, in one table.

A gate picks the criteria that suit its outputs (candidates/gate.py: rows of tensors, generation/gate.py: tokens,
module/gate.py: outputs). How much a precision may lose under each criterion is defined here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

TOLERANCE: Final = 1e-4  # FP32: allows another order of summation; relative to the largest output if that exceeds 1
COSINE: Final = 0.999
HIGH, BALANCED, FAST = "high", "balanced", "fast"  # the values of --accuracy


@dataclass(frozen=True, slots=True)
class Strictness:
    """The minimum accuracy of a reduced precision, as shares and cosines; FP32 is held to its limits at every level.

    `cosine` is the mean cosine over rows, `embedding` the same for int8 vectors whose consumers compare directions, and
    `worst` the cosine of the worst row; `neighbours` is the share of sample texts that keep their nearest neighbour,
    `labels` the share of rows that keep their winning label, and `tokens` the share of generated tokens before a row's
    first difference.
    """

    cosine: float
    embedding: float
    worst: float
    neighbours: float
    labels: float
    tokens: float


ACCURACY: Final = {
    HIGH: Strictness(cosine=0.9999, embedding=0.9999, worst=0.99, neighbours=1.0, labels=1.0, tokens=0.99),
    # worst: MiniLM in int8 reaches 0.93 on a row of one random token
    BALANCED: Strictness(cosine=COSINE, embedding=0.995, worst=0.8, neighbours=0.99, labels=0.99, tokens=0.9),
    # neighbours: MiniLM in int8 keeps 87 to 96 %, bfloat16 all
    FAST: Strictness(cosine=0.99, embedding=0.98, worst=0.7, neighbours=0.9, labels=0.97, tokens=0.8),
}
TOKENS: Final = ACCURACY[BALANCED].tokens


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
    neighbours: float = 0.0
