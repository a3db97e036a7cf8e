"""The two ways of comparing hypotheses of different lengths.

Penalties are positive and finite for any exponent: an absurd one saturates instead of overflowing.
"""

from __future__ import annotations

from math import exp, log

_LARGEST_EXPONENT = 700.0  # exp(709) is the largest float


def power_penalty(length: int, alpha: float) -> float:
    """Return length ** alpha, what transformers and FasterTransformer divide a log-probability by."""
    return _power(length, alpha)


def gnmt_penalty(length: int, alpha: float) -> float:
    """Return the GNMT length penalty ((5 + length) / 6) ** alpha (Wu et al. 2016, eq. 14)."""
    return _power((5 + length) / 6, alpha)


def _power(base: float, exponent: float) -> float:
    return exp(max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent * log(base))))
