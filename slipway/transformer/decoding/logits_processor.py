"""Change a row's scores before a token is selected, in FasterTransformer's order.

Banned words, temperature, repetition or presence penalty, minimum length; before all of them, forced tokens. Works on
the scores of one row's hypotheses [n, vocabulary]; the caller's tensor is never modified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from slipway.transformer.decoding.word_lists import BadWords
from slipway.transformer.generation import Decoding

_TEMPERATURE_EPSILON = 1e-6  # FasterTransformer's: a temperature of 0 means greedy search, not a division by zero


@dataclass(frozen=True, slots=True)
class RowContext:
    """What precedes the generated ids of a row: the prompt of the decoder, and the input of the encoder (or the prompt
    again); and the device of its scores."""

    prompt: Sequence[int]
    source: Sequence[int]
    device: torch.device


class ScoreProcessor(Protocol):
    """Changes the scores of one row's hypotheses."""

    def apply(self, scores: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Return the scores [n, vocabulary] to select from; `generated` has the ids of each hypothesis."""

    def follow(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """Remember that hypothesis i now continues the former `parents[i]` with `tokens[i]`."""


class LogitsProcessor:
    """The changes that one row requests, and the ids that each of its hypotheses has seen."""

    def __init__(self, decoding: Decoding, prompt: Sequence[int], device: torch.device) -> None:
        self._decoding = decoding
        self._device = device
        self._bad_words = BadWords.of(decoding.bad_words)
        self._always: Tensor | None = None  # int64, the single-token bad words of this vocabulary
        self._counts_seen = decoding.repetition_penalty != 1.0 or decoding.presence_penalty != 0.0
        self._prompt = prompt
        self._seen: Tensor | None = None  # int64 [hypotheses, ids], from the prompt and generated

    def apply(self, logits: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Return the scores to select from; `generated` has the ids of each hypothesis."""
        decoding = self._decoding
        if len(generated[0]) < len(decoding.forced):
            return _only(logits, decoding.forced[len(generated[0])])
        changed = self._ban_words(logits, generated)
        if decoding.temperature != 1.0:
            changed = changed / (decoding.temperature + _TEMPERATURE_EPSILON)
        if self._counts_seen:
            changed = self._penalise_seen(changed)
        if len(generated[0]) < decoding.min_tokens and 0 <= decoding.end_id < logits.shape[-1]:
            ends = torch.tensor([decoding.end_id], device=self._device)
            changed = changed.index_fill(1, ends, -torch.inf)
        return changed

    def follow(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """Record that hypothesis i now continues the former `parents[i]` with `tokens[i]`."""
        if self._seen is not None:
            origins = torch.tensor(parents, dtype=torch.int64, device=self._device)
            added = torch.tensor(tokens, dtype=torch.int64, device=self._device)
            self._seen = torch.cat((self._seen[origins], added.unsqueeze(-1)), dim=-1)

    def _ban_words(self, logits: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Ban single-token words everywhere, and the last token of longer words after their beginning."""
        size = logits.shape[-1]
        if self._always is None:
            inside = [token for token in self._bad_words.always if 0 < token < size]
            self._always = torch.tensor(inside, dtype=torch.int64, device=self._device)
        if len(self._always):
            logits = logits.index_fill(1, self._always, -torch.inf)
        completing = [
            (row, token)
            for row, ids in enumerate(generated)
            for token in self._bad_words.following(ids)
            if 0 < token < size
        ]
        if completing:
            rows, tokens = torch.tensor(completing, dtype=torch.int64, device=self._device).unbind(-1)
            logits = logits.index_put((rows, tokens), logits.new_tensor(-torch.inf))
        return logits

    def _penalise_seen(self, logits: Tensor) -> Tensor:
        """Make each id that a hypothesis has seen less likely; repeated ids are penalised once."""
        if self._seen is None:  # ids beyond the vocabulary are rows of a prompt table
            inside = [token for token in self._prompt if 0 <= token < logits.shape[-1]]
            self._seen = torch.tensor([inside], dtype=torch.int64, device=self._device)
        scores = logits.gather(1, self._seen)
        penalty = self._decoding.repetition_penalty
        scores = torch.where(scores < 0, scores * penalty, scores / penalty) - self._decoding.presence_penalty
        return logits.scatter(1, self._seen, scores)  # an id seen twice is written twice, with the same score


def _only(logits: Tensor, token: int) -> Tensor:
    """Return scores under which `token` is certain, as transformers forces a first token."""
    return torch.full_like(logits, -torch.inf).index_fill(1, torch.tensor([token], device=logits.device), 0.0)
