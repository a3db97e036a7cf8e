"""One row with its own processing: scores are changed, normalised, and passed to the row's search rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from slipway.transformer.decoding.beam import Distribution, SearchRule
from slipway.transformer.decoding.beam_hugging_face import HuggingFaceBeam
from slipway.transformer.decoding.beam_lightseq import LightSeqBeam
from slipway.transformer.decoding.beam_tensor2tensor import Tensor2TensorBeam
from slipway.transformer.decoding.branches import GreedyBranches
from slipway.transformer.decoding.hypothesis import GeneratedSequence
from slipway.transformer.decoding.logits_processor import LogitsProcessor, RowContext, ScoreProcessor
from slipway.transformer.decoding.sampling import FilteredSampler, Sampler, TokenSampler
from slipway.transformer.decoding.scores import normalise
from slipway.transformer.decoding.transformers_order import TransformersProcessor
from slipway.transformer.generation import Decoding, GenerationListener, Search, StepObserver

RULES: dict[Search, Callable[[Decoding], SearchRule]] = {
    Search.HUGGING_FACE: HuggingFaceBeam,
    Search.LIGHTSEQ: LightSeqBeam,
    Search.TENSOR2TENSOR: Tensor2TensorBeam,
    Search.BRANCHES: GreedyBranches,
}


class DecodingRow(Protocol):
    """A row of a batch that is not plain greedy search."""

    index: int

    def step(self, logits: Tensor) -> tuple[Sequence[int], Sequence[int]]:
        """Continue the row's hypotheses by their scores [n, vocabulary].

        Return the parents and tokens of the new hypotheses: none when the row is finished and reported.
        """


def open_row(index: int, decoding: Decoding, context: RowContext, listener: GenerationListener) -> DecodingRow:
    """Return a row that has generated nothing yet."""
    rules = decoding.rules
    processor: ScoreProcessor
    if rules is None:
        processor = LogitsProcessor(decoding, context.prompt, context.device)
    else:
        processor = TransformersProcessor(decoding, rules, context)
    if decoding.search is Search.SAMPLE:
        sampler = TokenSampler(decoding) if rules is None else FilteredSampler(decoding, rules)
        return SampledRow(GeneratedSequence(index, decoding, listener), processor, sampler)
    return SearchedRow(index, decoding, processor, listener)


class SampledRow:
    """A row with one hypothesis, sampled or greedy with processed scores."""

    def __init__(self, sequence: GeneratedSequence, processor: ScoreProcessor, sampler: Sampler) -> None:
        self.index = sequence.index
        self._sequence = sequence
        self._processor = processor
        self._sampler = sampler
        rules = sequence.decoding.rules
        self._observer = None if rules is None else rules.observer

    def step(self, logits: Tensor) -> tuple[Sequence[int], Sequence[int]]:
        """Choose the next token and report it."""
        ends = torch.tensor([self._sequence.decoding.end_id], device=logits.device)
        scores, totals = normalise(self._processor.apply(logits, [self._sequence.ids]), ends)
        token, log_probability, figure = self._sampler.choose(scores[0], totals[0])
        if self._observer is not None:
            _observe(self._observer, logits[0], token)
        if not self._sequence.accept(token, log_probability, figure):
            return (), ()
        self._processor.follow((0,), (token,))
        return (0,), (token,)


def _observe(observer: StepObserver, logits: Tensor, token: int) -> None:
    """Report what the model's own scores float32 [vocabulary] say about a token and about the best ones."""
    logarithms = logits.double().log_softmax(dim=-1)
    best, ids = logarithms.topk(min(observer.width, logits.shape[-1]))
    observer.step(float(logarithms[token]), ids.tolist(), best.tolist())


class SearchedRow:
    """A row with several hypotheses and a search rule."""

    def __init__(self, index: int, decoding: Decoding, processor: ScoreProcessor, listener: GenerationListener) -> None:
        self.index = index
        self._end_id = decoding.end_id
        self._of_probabilities = decoding.rules is not None  # whether the processor changes log-probabilities or logits
        self._processor = processor
        self._listener = listener
        self._rule = RULES[decoding.search](decoding)

    def step(self, logits: Tensor) -> tuple[Sequence[int], Sequence[int]]:
        """Continue the hypotheses by the rule; report the results when it has ended, or none if the client is gone."""
        if not self._listener.wanted(self.index):
            self._listener.done(self.index, [])
            return (), ()
        update = self._rule.advance(self._distribution(logits))
        if update.finished is not None:
            self._listener.done(self.index, list(update.finished))
            return (), ()
        self._processor.follow(update.parents, update.tokens)
        return update.parents, update.tokens

    def _distribution(self, logits: Tensor) -> Distribution:
        """Return the scores of what follows the hypotheses. FasterTransformer changes logits and normalises the result;
        transformers changes log-probabilities and does not normalise them again."""
        generated = [hypothesis.ids for hypothesis in self._rule.hypotheses]
        ends = torch.full((len(logits),), self._end_id, device=logits.device)
        if not self._of_probabilities:
            return Distribution(*normalise(self._processor.apply(logits, generated), ends))
        scores, totals = normalise(logits, ends)
        changed = self._processor.apply(scores - totals.unsqueeze(-1), generated)
        return Distribution(changed.nan_to_num(nan=-torch.inf, neginf=-torch.inf), torch.zeros_like(totals))
