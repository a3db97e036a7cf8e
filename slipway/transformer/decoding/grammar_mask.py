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
        allowed = self._allowed(texts, scores)
        nothing = scores.new_tensor(-torch.inf)
        left = torch.where(allowed, scores, nothing)
        best = left.amax(dim=-1, keepdim=True)
        if bool((best > -torch.inf).all()):
            return left
        some = (left > -torch.inf).any(dim=-1, keepdim=True)  # a maximum is NaN if any score is
        return torch.where(some, left, torch.where(allowed, own, nothing))

    def _allowed(self, texts: Sequence[tuple[int, ...]], scores: Tensor) -> Tensor:
        """Return bool [n, vocabulary]; tokens beyond the grammar's vocabulary are not allowed."""
        rows = [self._states[text].allowed()[: scores.shape[1]] for text in texts]
        missing = scores.shape[1] - len(rows[0])
        if missing:
            rows = [np.pad(row, (0, missing)) for row in rows]
        return torch.from_numpy(rows[0][None] if len(rows) == 1 else np.stack(rows)).to(scores.device)

    def _reached(self, text: tuple[int, ...], *, alone: bool) -> GrammarState:
        """Return the state after a text, which continues one of the last step's."""
        if text in self._states:
            return self._states[text]
        before = self._states[text[:-1]]
        state = before if alone else before.copy()
        state.accept(text[-1])
        return state
