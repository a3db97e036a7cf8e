"""Greedy search for many rows at once: the fast path, a few kernels for any number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

import torch
from torch import Tensor

from slipway.transformer.decoding.hypothesis import GeneratedSequence
from slipway.transformer.decoding.scores import normalise
from slipway.transformer.generation import Decoding, Search, TransformersRules


def is_plain(decoding: Decoding) -> bool:
    """Return whether the most probable token of the raw scores is the answer (except where the end token is banned)."""
    return (
        decoding.search is Search.SAMPLE
        and (decoding.top_k == 1 or (decoding.top_k == 0 and decoding.top_p == 0.0))
        and decoding.temperature == 1.0
        and decoding.repetition_penalty == 1.0
        and decoding.presence_penalty == 0.0
        and not decoding.bad_words
        and not decoding.forced
        and (decoding.rules is None or not _changed(decoding, decoding.rules))
    )


def _changed(decoding: Decoding, rules: TransformersRules) -> bool:
    """Return whether the rules change the scores; the fast path bans only one end token before the minimum length."""
    return rules.change_scores or (decoding.min_tokens > 0 and len(rules.end_ids) > 1)


def pick(logits: Tensor, sequences: Sequence[GeneratedSequence]) -> Iterator[tuple[int, float]]:
    """Return the best token of each sequence and its log-probability.

    Of equal scores the lowest id wins (torch promises the first index of a maximum).
    """
    logits = _without_early_ends(logits, sequences)
    ids, figures = _best(logits, torch.logsumexp(logits, dim=-1))
    if not all(map(isfinite, figures)):  # usually no check on the device is needed
        ends = torch.tensor(
            [sequence.decoding.end_id for sequence in sequences], dtype=torch.int64, device=logits.device
        )
        ids, figures = _best(*normalise(logits, ends))
    return zip(map(int, ids), figures, strict=True)


def _best(logits: Tensor, total: Tensor) -> tuple[list[float], list[float]]:
    """Return each row's best token and its log-probability, in one transfer: float64 represents every id exactly."""
    best, tokens = logits.max(dim=-1)
    ids, figures = torch.stack((tokens.double(), best.double() - total.double())).tolist()
    return ids, figures


def _without_early_ends(logits: Tensor, sequences: Sequence[GeneratedSequence]) -> Tensor:
    """Return a copy of the scores in which sequences that are too short to end have the end token banned."""
    size = logits.shape[-1]
    banned = [(row, sequence.decoding.end_id) for row, sequence in enumerate(sequences) if not sequence.may_end]
    banned = [(row, end) for row, end in banned if 0 <= end < size]
    if not banned:
        return logits
    rows, ends = torch.tensor(banned, dtype=torch.int64, device=logits.device).unbind(-1)
    return logits.index_put((rows, ends), logits.new_tensor(-torch.inf))
