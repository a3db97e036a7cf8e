"""A model of nothing but chance: fixed scores for every prefix, and a loop that drives a batch as an engine does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from slipway.transformer.decoding.batch import DecodingBatch
from slipway.transformer.generation import CollectingListener, Decoding, GenerationListener, Hypothesis


@dataclass
class Toy:
    """Scores [vocabulary] that depend on the whole prefix; `end_bonus` makes token 1 more or less likely."""

    seed: int
    vocabulary: int = 20
    end_bonus: float = 0.0
    spread: float = 2.0
    known: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def scores(self, prefix: Sequence[int]) -> np.ndarray:
        key = tuple(prefix)
        if key not in self.known:
            drawn = np.random.default_rng([self.seed, *key]).normal(size=self.vocabulary) * self.spread
            drawn[1] += self.end_bonus
            self.known[key] = drawn.astype(np.float32)
        return self.known[key]

    def log_probabilities(self, prefix: Sequence[int]) -> np.ndarray:
        scores = self.scores(prefix).astype(np.float64)
        return scores - np.log(np.exp(scores).sum())

    def total(self, prompt: Sequence[int], ids: Sequence[int]) -> float:
        return math.fsum(self.log_probabilities((*prompt, *ids[:at]))[token] for at, token in enumerate(ids))


@dataclass
class Constant(Toy):
    """The same scores after any tokens."""

    given: Sequence[float] = ()

    def scores(self, prefix: Sequence[int]) -> np.ndarray:  # noqa: ARG002
        return np.array(self.given, np.float32)


def drive(
    decodings: Sequence[Decoding], toys: Sequence[Toy], prompts: Sequence[Sequence[int]], listener: GenerationListener
) -> int:
    """Run a batch to its end, holding it to the contract of `rows`, `tokens` and parents; return the steps it took."""
    batch = DecodingBatch(decodings, prompts, listener, device="cpu")
    prefixes = [tuple(prompt) for prompt in prompts]
    rows = list(range(len(prompts)))
    steps = 0
    while batch.alive:
        assert batch.rows.dtype == batch.tokens.dtype == torch.int64
        assert batch.rows.tolist() == rows
        assert [prefix[-1] for prefix in prefixes] == batch.tokens.tolist()
        scores = torch.from_numpy(
            np.stack([toys[row].scores(prefix) for row, prefix in zip(rows, prefixes, strict=True)])
        )
        before = scores.clone()
        parents = batch.step(scores)
        assert scores.equal(before) or scores.isnan().any(), "scores are read, not written"
        origins = list(range(len(prefixes))) if parents is None else parents.tolist()
        assert [rows[origin] for origin in origins] == batch.rows.tolist()
        rows = batch.rows.tolist()
        prefixes = [(*prefixes[origin], token) for origin, token in zip(origins, batch.tokens.tolist(), strict=True)]
        steps += 1
    return steps


def decode_all(
    decodings: Sequence[Decoding], toys: Sequence[Toy], prompts: Sequence[Sequence[int]] | None = None
) -> list[list[Hypothesis]]:
    collected = CollectingListener()
    drive(decodings, toys, prompts or [[0]] * len(decodings), collected)
    return [collected.results[row] for row in range(len(decodings))]


def decode(decoding: Decoding, toy: Toy, prompt: Sequence[int] = (0,)) -> list[Hypothesis]:
    return decode_all([decoding], [toy], [prompt])[0]
