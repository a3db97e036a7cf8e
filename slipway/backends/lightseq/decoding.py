"""Turn the decoding settings of a LightSeq file into the decoding of one row and the width of the answer.

Source: LightSeq's `model_conf` and its decoder loops. Lengths there count the start token, as transformers'
`max_length` does: the answer to S ids has at most min(max_step, S + extra_decode_length) - 1 columns, the last of which
is always the end token. Sampling continues to max_step.
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
    """The decoding settings of a file. `extra` is `extra_decode_length`, `max_step` the maximum sequence length."""

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
        """How many hypotheses are returned per row."""
        return self.beam_width if self.method in ("beam_search", "topk_greedy") else 1

    def columns(self, source_length: int) -> int:
        """Return the maximum width of the answer to `source_length` ids."""
        if self.method != "beam_search":
            return self.max_step
        return max(1, min(self.max_step, source_length + self.extra) - 1)

    def translation(self, columns: int, seed: int) -> Decoding:
        """Return the decoding of a row with at most `columns` columns, the last of which is the end token."""
        if self.method == "beam_search" and self.beam_width > 1:
            return replace(self._base(columns), seed=seed)  # the search itself puts the end token there
        return replace(self._base(max(1, columns - 1)), seed=seed)

    def continuation(self, prompt_length: int, seed: int) -> Decoding | None:
        """Return the decoding of the continuation of a prompt, None if the prompt leaves no room for one."""
        limit = min(self.max_step, prompt_length + self.extra) if self.extra > 0 else self.max_step
        room = limit - prompt_length
        return replace(self._base(room), seed=seed) if room > 0 else None

    def score(self, hypothesis: Hypothesis) -> float:
        """Return the score that LightSeq ranks a hypothesis by; for a sampled one, its log-probability."""
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
            return replace(plain, top_k=self.top_k if self.top_k > 1 else 0)  # top 1 is greedy search
        if self.method == "topp":
            return replace(plain, top_p=self.top_p)
        if self.method == "topk_greedy":
            return replace(plain, search=Search.BRANCHES, beam_width=self.beam_width)
        if self.beam_width == 1:  # greedy search finds the same ids; only the score is LightSeq's
            return plain
        return replace(
            plain,
            search=Search.LIGHTSEQ,
            beam_width=self.beam_width,
            length_penalty=self.length_penalty,
            diversity=self.diversity,
        )


def seed_of(request: InferRequest, configured: int | None) -> int:
    """Return the seed of a request: its own parameter, else the model's, else a random one (LightSeq has no seed).

    Raise INVALID_ARG for a parameter that is not a whole number from 0 to 2^63 - 1.
    """
    value = request.parameters.get(SEED_PARAMETER, configured)
    if value is None:
        return secrets.randbelow(_SEEDS)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _SEEDS:
        raise invalid(
            f"{request.log_prefix}parameter '{SEED_PARAMETER}' of model '{request.model_name}' is {value!r}: expected "
            f"a whole number from 0 to 2^63 - 1"
        )
    return value


def row_seed(seed: int, row: int) -> int:
    """Return the seed of one row, so that identical rows of a request sample differently."""
    return (seed + row) % _SEEDS
