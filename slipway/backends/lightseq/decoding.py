"""What a LightSeq file says about decoding, as the decoding of one row and as the width of the answer.

Source: LightSeq's `model_conf` and its decoder loops. Lengths there count the start token, as they do in transformers'
`max_length`: a request of S ids has at most min(max_step, S + extra_decode_length) - 1 columns, the last of which is
always the end token. Sampling goes on to max_step.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Final

from slipway.core.request import InferRequest
from slipway.errors import invalid
from slipway.transformer.decoding.hypothesis import gnmt_penalty
from slipway.transformer.generation import Decoding, Hypothesis, Search

SEED_PARAMETER: Final = "random_seed"
_SEEDS: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class DecodingRules:
    """How a file wants its rows decoded. `extra` is `extra_decode_length`, `max_step` the longest sequence."""

    method: str
    start_id: int
    end_id: int
    max_step: int
    beam_width: int = 1
    length_penalty: float = 0.0
    diversity: float = 0.0
    top_k: int = 0
    top_p: float = 0.0
    extra: int = 0

    @property
    def width(self) -> int:
        """How many hypotheses a row is answered with."""
        return self.beam_width if self.method in ("beam_search", "topk_greedy") else 1

    def columns(self, source_length: int) -> int:
        """Return the largest width of an answer to `source_length` ids."""
        if self.method != "beam_search":
            return self.max_step
        return max(1, min(self.max_step, source_length + self.extra) - 1)

    def translation(self, columns: int, seed: int) -> Decoding:
        """Return the decoding of a row with at most `columns` columns; the last is the end token's."""
        if self.method == "beam_search" and self.beam_width > 1:
            return replace(self._base(columns), seed=seed)  # the search itself puts the end token there
        return replace(self._base(max(1, columns - 1)), seed=seed)

    def continuation(self, prompt_length: int, seed: int) -> Decoding | None:
        """Return the decoding of what follows a prompt, None for one that leaves no room."""
        limit = min(self.max_step, prompt_length + self.extra) if self.extra > 0 else self.max_step
        room = limit - prompt_length
        return replace(self._base(room), seed=seed) if room > 0 else None

    def score(self, hypothesis: Hypothesis) -> float:
        """Return what LightSeq orders a hypothesis by; sampled ones are given their log-probability."""
        if self.method != "beam_search" or self.beam_width > 1:
            return hypothesis.score
        length = len(hypothesis.ids)
        if self.length_penalty < 0:
            ended = bool(hypothesis.ids) and hypothesis.ids[-1] == self.end_id
            return hypothesis.log_probability / max(1, length - ended)
        return hypothesis.log_probability / gnmt_penalty(length, self.length_penalty)

    def _base(self, max_tokens: int) -> Decoding:
        plain = Decoding(max_tokens, start_id=self.start_id, end_id=self.end_id)
        if self.method == "topk":
            return replace(plain, top_k=self.top_k if self.top_k > 1 else 0)  # the best of one is greedy search
        if self.method == "topp":
            return replace(plain, top_p=self.top_p)
        if self.method == "topk_greedy":
            return replace(plain, search=Search.BRANCHES, beam_width=self.beam_width)
        if self.beam_width == 1:  # greedy search finds the same ids; only their score is LightSeq's
            return plain
        return replace(
            plain,
            search=Search.LIGHTSEQ,
            beam_width=self.beam_width,
            length_penalty=self.length_penalty,
            diversity=self.diversity,
        )


def seed_of(request: InferRequest, configured: int | None) -> int:
    """Return the seed of a request: its own parameter, else the model's, else one drawn here (LightSeq has none).

    Raise INVALID_ARG for a parameter that is no whole number from 0 to 2^63 - 1.
    """
    value = request.parameters.get(SEED_PARAMETER, configured)
    if value is None:
        return secrets.randbelow(_SEEDS)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _SEEDS:
        raise invalid(
            f"{request.log_prefix}parameter '{SEED_PARAMETER}' of model '{request.model_name}' is {value!r}: give a "
            f"whole number from 0 to 2^63 - 1"
        )
    return value


def row_seed(seed: int, row: int) -> int:
    """Return the seed of one row: equal rows of a request draw differently."""
    return (seed + row) % _SEEDS
