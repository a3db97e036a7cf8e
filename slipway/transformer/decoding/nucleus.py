"""The probability mass that a row samples from: constant, or the factual nucleus (Lee et al. 2022)."""

from __future__ import annotations

from slipway.transformer.generation import Decoding


class Nucleus:
    """`mass` is the share of the probability to draw from at the next step.

    It shrinks by `top_p_decay` with every token, to no less than `top_p_min`, and starts again after
    `top_p_reset_id`. Without `top_p` it is everything.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self.mass = decoding.top_p or 1.0

    def follow(self, token: int) -> None:
        """Set the mass of the step after `token`."""
        decoding = self._decoding
        if decoding.top_p == 0.0:
            return
        decayed = max(self.mass * decoding.top_p_decay, decoding.top_p_min)
        self.mass = decoding.top_p if token == decoding.top_p_reset_id else decayed
