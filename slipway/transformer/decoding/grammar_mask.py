"""Leaves a row only the tokens that its grammar allows next, after all other processors.

Each hypothesis has its own state of the grammar. Where the other processors forbid every token that the grammar allows,
the grammar wins: of its tokens, the model's own scores decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slipway.transformer.generation import GrammarState, TextGrammar


class GrammarMask:
    """The states of a row's hypotheses. The first `skipped` generated tokens are forced, and no part of the text."""

    def __init__(self, grammar: TextGrammar, skipped: int) -> None:
        self._skipped = skipped
        self._states: dict[tuple[int, ...], GrammarState] = {(): grammar.begin()}

    def apply(self, scores: Tensor, own: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Return the processed `scores` [n, vocabulary] of the allowed tokens; `own` are the model's."""
        if len(generated[0]) < self._skipped:
            return scores
        texts = [tuple(ids[self._skipped :]) for ids in generated]
        self._states = {text: self._reached(text, alone=len(texts) == 1) for text in texts}
        allowed = np.stack([self._states[text].allowed() for text in texts])
        forbidden = torch.ones(scores.shape, dtype=torch.bool)
        known = min(allowed.shape[1], scores.shape[1])
        forbidden[:, :known] = torch.from_numpy(~allowed[:, :known])
        forbidden = forbidden.to(scores.device)
        left = scores.masked_fill(forbidden, -torch.inf)
        some = (left > -torch.inf).any(dim=-1, keepdim=True)
        return left if bool(some.all()) else torch.where(some, left, own.masked_fill(forbidden, -torch.inf))

    def _reached(self, text: tuple[int, ...], *, alone: bool) -> GrammarState:
        """Return the state after a text, which continues one of the last step's."""
        if text in self._states:
            return self._states[text]
        before = self._states[text[:-1]]
        state = before if alone else before.copy()
        state.accept(text[-1])
        return state
