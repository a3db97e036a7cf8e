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
    first difference. For models that continue text, `first_tokens` is the share of prompts that keep their first token;
    `perplexity` and `perplexity_int4` are how far the perplexity on real text may move, relatively.
    """

    cosine: float
    embedding: float
    worst: float
    neighbours: float
    labels: float
    tokens: float
    first_tokens: float = 0.9
    perplexity: float = 0.01
    perplexity_int4: float = 0.03


ACCURACY: Final = {
    HIGH: Strictness(
        cosine=0.9999,
        embedding=0.9999,
        worst=0.99,
        neighbours=1.0,
        labels=1.0,
        tokens=0.99,
        first_tokens=1.0,
        perplexity=0.005,
        perplexity_int4=0.01,
    ),
    # worst: MiniLM in int8 reaches 0.93 on a row of one random token
    BALANCED: Strictness(cosine=COSINE, embedding=0.995, worst=0.8, neighbours=0.99, labels=0.99, tokens=0.9),
    # neighbours: MiniLM in int8 keeps 87 to 96 %, bfloat16 all
    FAST: Strictness(
        cosine=0.99,
        embedding=0.98,
        worst=0.7,
        neighbours=0.9,
        labels=0.97,
        tokens=0.8,
        first_tokens=0.8,
        perplexity=0.02,
        perplexity_int4=0.06,
    ),
}
TOKENS: Final = ACCURACY[BALANCED].tokens
PERPLEXITY_FP32: Final = 1e-3  # at every level: sums in another order move it by about 1e-6

# How much less likely than the best a token may be in the reference, in nats, for a candidate that generates it to have
# only rounded differently; no token is so near in float32, where scores tie within `TOLERANCE`.
NEAR: Final = {"fp32": 0.0, "fp16": 0.05, "bf16": 0.2, "int8": 0.2, "int4": 1.0}


def perplexity_limit(precision: str, asked: Strictness) -> float:
    """Return how far the perplexity of a candidate of `precision` may be from the reference's, relatively."""
    limits = {"fp32": PERPLEXITY_FP32, "int4": asked.perplexity_int4}
    return limits.get(precision, asked.perplexity)


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
