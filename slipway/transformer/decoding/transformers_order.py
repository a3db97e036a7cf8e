"""The score processors of transformers, in the order of its `generate()`, and after them OpenAI's penalties and the
row's grammar.

Each is a small class, created through a table. Greedy search and sampling process logits, beam search processes
log-probabilities. The filters of sampling follow (`sampling_filters.py`). Source: transformers 5,
`GenerationMixin._get_logits_processor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import torch
from torch import Tensor

from slipway.transformer.decoding.grammar_mask import GrammarMask
from slipway.transformer.decoding.logits_processor import RowContext
from slipway.transformer.generation import Decoding, TransformersRules


class Step:
    """The ids of a row's hypotheses at one step, prompt included."""

    def __init__(self, context: RowContext, generated: Sequence[Sequence[int]]) -> None:
        self.length = len(generated[0])  # generated so far, the same for all hypotheses of a row
        self.sequences = [(*context.prompt, *ids) for ids in generated]
        self._device = context.device
        self._ids: Tensor | None = None

    @property
    def ids(self) -> Tensor:
        """The sequences as int64 [hypotheses, ids]."""
        if self._ids is None:
            self._ids = torch.tensor(self.sequences, dtype=torch.int64, device=self._device)
        return self._ids


Processor = Callable[[Tensor, Step], Tensor]


class TransformersProcessor:
    """All processors that a row uses, one after the other."""

    def __init__(self, decoding: Decoding, rules: TransformersRules, context: RowContext) -> None:
        self._context = context
        made = [make(decoding, rules, context) for make in (*ORDER.values(), _generated_penalty, _allowed)]
        self._processors: list[Processor] = [each for each in made if each is not None]
        self._mask = None if rules.grammar is None else GrammarMask(rules.grammar, len(decoding.forced))

    def apply(self, scores: Tensor, generated: Sequence[Sequence[int]]) -> Tensor:
        """Return the scores [n, vocabulary] to select from; the caller's tensor is not changed."""
        step = Step(self._context, generated)
        own = scores
        for processor in self._processors:
            scores = processor(scores, step)
        return scores if self._mask is None else self._mask.apply(scores, own, generated)

    def follow(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """Do nothing: every step receives the whole sequences."""


class SequenceBias:
    """Adds a bias to the score of the token that would complete a sequence; -inf forbids it.

    Single tokens are one addition, and longer sequences are looked up by their last token but one, so a list of 100 000
    costs no more per step than a short one.
    """

    def __init__(self, biases: Iterable[tuple[tuple[int, ...], float]]) -> None:
        last = {ids: bias for ids, bias in biases if ids}  # the last of equal ones wins
        self._singles = {ids[0]: bias for ids, bias in last.items() if len(ids) == 1}
        self._always: Tensor | None = None  # float32 [vocabulary]
        self._longer: dict[int, list[tuple[tuple[int, ...], float]]] = {}
        for ids, bias in last.items():
            if len(ids) > 1:
                self._longer.setdefault(ids[-2], []).append((ids, bias))

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores with the biases that apply to each hypothesis."""
        if self._singles:
            scores = scores + self._of_singles(scores)
        size = scores.shape[-1]
        added = [
            (row, ids[-1], bias)
            for row, sequence in enumerate(step.sequences)
            for ids, bias in self._longer.get(sequence[-1], ())
            if ids[-1] < size and _ends_with(sequence, ids[:-1])
        ]
        if not added:
            return scores
        rows, tokens, values = zip(*added, strict=True)
        places = torch.tensor([rows, tokens], dtype=torch.int64, device=scores.device)
        return scores.index_put(tuple(places), scores.new_tensor(values), accumulate=True)

    def _of_singles(self, scores: Tensor) -> Tensor:
        if self._always is None:
            inside = {token: bias for token, bias in self._singles.items() if token < scores.shape[-1]}
            always = torch.zeros(scores.shape[-1])
            always[torch.tensor([*inside], dtype=torch.int64)] = torch.tensor([*inside.values()], dtype=torch.float32)
            self._always = always.to(scores.device)
        return self._always


class SeenPenalty:
    """Makes ids less likely (more likely with a penalty below 1), once even if the sequence repeats them."""

    def __init__(self, penalty: float, presence: float = 0.0, ids: Sequence[int] | None = None) -> None:
        self._penalty = penalty
        self._presence = presence
        self._fixed = ids  # None: all ids of a hypothesis

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores with those of the seen ids changed."""
        size = scores.shape[-1]
        ids = step.ids if self._fixed is None else torch.tensor([self._fixed] * len(scores), device=scores.device)
        padded = torch.nn.functional.pad(scores, (0, 1))  # a column for ids beyond the vocabulary
        ids = ids.clamp(max=size)
        found = padded.gather(1, ids)
        changed = torch.where(found < 0, found * self._penalty, found / self._penalty) - self._presence
        return padded.scatter(1, ids, changed)[:, :size]


class GeneratedPenalty:
    """Makes tokens less likely that have been generated already: OpenAI's two penalties, which leave the prompt out.

    Source: OpenAI's API reference, "Frequency and presence penalties".
    """

    def __init__(self, frequency: float, presence: float) -> None:
        self._frequency = frequency
        self._presence = presence

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores with those of the generated ids lowered."""
        if not step.length:
            return scores
        ids = step.ids[:, -step.length :]
        counts = torch.zeros_like(scores).scatter_add(1, ids, torch.ones_like(ids, dtype=scores.dtype))
        return scores - self._frequency * counts - self._presence * (counts > 0)


class NoRepeat:
    """Forbids every token that would complete a run of `size` tokens that is already in the sequence."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores without such tokens."""
        ids, size = step.ids, self._size
        if ids.shape[1] < size:
            return scores
        runs = ids.unfold(1, size, 1)
        same = (runs[..., :-1] == ids[:, None, ids.shape[1] + 1 - size :]).all(dim=-1)
        rows, places = same.nonzero(as_tuple=True)
        return _forbidden(scores, rows, runs[rows, places, -1])


class NoRepeatOfSource:
    """Forbids every token that would complete a run of `size` tokens of the source."""

    def __init__(self, size: int, source: Sequence[int]) -> None:
        self._size = size
        self._following: dict[tuple[int, ...], list[int]] = {}
        for start in range(len(source) - size + 1):
            run = tuple(source[start : start + size])
            self._following.setdefault(run[:-1], []).append(run[-1])

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores without such tokens."""
        kept = self._size - 1
        tails = [sequence[len(sequence) - kept :] if len(sequence) >= kept else None for sequence in step.sequences]
        found = [
            (row, token)
            for row, tail in enumerate(tails)
            if tail is not None
            for token in self._following.get(tail, ())
        ]
        if not found:
            return scores
        rows, tokens = torch.tensor(found, dtype=torch.int64, device=scores.device).unbind(-1)
        return _forbidden(scores, rows, tokens)


class Suppressed:
    """Forbids tokens at the steps for which `when`, given the number of tokens generated so far, is true."""

    def __init__(self, tokens: Sequence[int], when: Callable[[int], bool]) -> None:
        self._tokens = tokens
        self._when = when

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores without these tokens."""
        inside = [token for token in self._tokens if 0 <= token < scores.shape[-1]]
        if not inside or not self._when(step.length):
            return scores
        return scores.index_fill(1, torch.tensor(inside, device=scores.device), -torch.inf)


class Allowed:
    """Forbids all other tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._forbidden: Tensor | None = None  # bool [vocabulary]

    def __call__(self, scores: Tensor, step: Step) -> Tensor:  # noqa: ARG002  a processor like the others
        """Return the scores of the allowed tokens."""
        if self._forbidden is None:
            inside = torch.tensor([token for token in self._tokens if token < scores.shape[-1]], dtype=torch.int64)
            forbidden = torch.ones(scores.shape[-1], dtype=torch.bool).index_fill(0, inside, value=False)
            self._forbidden = forbidden.to(scores.device)
        return scores.masked_fill(self._forbidden, -torch.inf)


class Forced:
    """Allows only some tokens, with score 0, at the steps for which `tokens_at` returns any."""

    def __init__(self, tokens_at: Callable[[int], Sequence[int]]) -> None:
        self._tokens_at = tokens_at

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores of this step."""
        tokens = self._tokens_at(step.length)
        if not tokens:
            return scores
        only = torch.tensor(tokens, dtype=torch.int64, device=scores.device)
        return torch.full_like(scores, -torch.inf).index_fill(1, only, 0.0)


class ExponentialDecay:
    """Makes the end tokens more likely after a given length, by a share of their score that grows exponentially."""

    def __init__(self, begin: int, factor: float, ends: Sequence[int]) -> None:
        self._begin = begin
        self._factor = factor
        self._ends = ends

    def __call__(self, scores: Tensor, step: Step) -> Tensor:
        """Return the scores with the end tokens' raised."""
        over = step.length - self._begin
        if over <= 0:
            return scores
        ends = torch.tensor(self._ends, dtype=torch.int64, device=scores.device)
        found = scores.index_select(1, ends)
        raised = (found.abs() * (self._factor**over - 1)).masked_fill(~found.isfinite(), 0.0)
        return scores.index_copy(1, ends, found + raised)


def _remove_invalid(scores: Tensor, step: Step) -> Tensor:  # noqa: ARG001  a processor like the others
    return scores.nan_to_num(nan=0.0)  # and infinities to the largest finite numbers


def _renormalise(scores: Tensor, step: Step) -> Tensor:  # noqa: ARG001  a processor like the others
    return scores.log_softmax(dim=-1)


def _ends_with(sequence: Sequence[int], tail: Sequence[int]) -> bool:
    return len(tail) <= len(sequence) and tuple(sequence[len(sequence) - len(tail) :]) == tuple(tail)


def _forbidden(scores: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
    inside = tokens < scores.shape[-1]
    return scores.index_put((rows[inside], tokens[inside]), scores.new_tensor(-torch.inf))


def _sequence_bias(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    return SequenceBias(rules.sequence_bias) if rules.sequence_bias else None


def _source_penalty(_: Decoding, rules: TransformersRules, context: RowContext) -> Processor | None:
    penalty = rules.encoder_repetition_penalty
    return SeenPenalty(1 / penalty, ids=context.source) if penalty != 1.0 else None


def _repetition(decoding: Decoding, _: TransformersRules, __: RowContext) -> Processor | None:
    if decoding.repetition_penalty == 1.0 and decoding.presence_penalty == 0.0:
        return None
    return SeenPenalty(decoding.repetition_penalty, decoding.presence_penalty)


def _generated_penalty(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    if rules.frequency_penalty == 0.0 and rules.output_presence_penalty == 0.0:
        return None
    return GeneratedPenalty(rules.frequency_penalty, rules.output_presence_penalty)


def _allowed(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    return Allowed((*rules.allowed_tokens, *rules.end_ids)) if rules.allowed_tokens else None


def _no_repeat(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    return NoRepeat(rules.no_repeat_ngram_size) if rules.no_repeat_ngram_size > 0 else None


def _no_repeat_of_source(_: Decoding, rules: TransformersRules, context: RowContext) -> Processor | None:
    size = rules.encoder_no_repeat_ngram_size
    return NoRepeatOfSource(size, context.source) if size > 0 else None


def _bad_words(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    words = [word for word in rules.bad_words if len(word) > 1 or not set(word) <= set(rules.end_ids)]
    return SequenceBias((word, -torch.inf) for word in words) if words else None


def _minimum(decoding: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    if decoding.min_tokens <= 0:
        return None
    return Suppressed(rules.end_ids, lambda length: length < decoding.min_tokens)


def _forced_first(decoding: Decoding, _: TransformersRules, __: RowContext) -> Processor | None:
    forced = decoding.forced
    return Forced(lambda length: forced[length : length + 1]) if forced else None


def _forced_end(decoding: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    ends = rules.forced_end_ids
    return Forced(lambda length: ends if length == decoding.max_tokens - 1 else ()) if ends else None


def _invalid(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    return _remove_invalid if rules.remove_invalid_values else None


def _decay(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    if rules.exponential_decay is None:
        return None
    begin, factor = rules.exponential_decay
    return ExponentialDecay(begin, factor, rules.end_ids)


def _suppressed(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    return Suppressed(rules.suppress_tokens, lambda _: True) if rules.suppress_tokens else None


def _suppressed_first(decoding: Decoding, rules: TransformersRules, context: RowContext) -> Processor | None:
    if not rules.begin_suppress_tokens:
        return None
    begin = 1 if decoding.forced and len(context.prompt) == 1 else 0  # after a forced token
    return Suppressed(rules.begin_suppress_tokens, lambda length: length == begin)


def _normalised(_: Decoding, rules: TransformersRules, __: RowContext) -> Processor | None:
    return _renormalise if rules.renormalize_logits else None


Maker = Callable[[Decoding, TransformersRules, RowContext], Processor | None]
# In the order of `generate()`, by the names of its settings.
ORDER: Final[dict[str, Maker]] = {
    "sequence_bias": _sequence_bias,
    "encoder_repetition_penalty": _source_penalty,
    "repetition_penalty": _repetition,
    "no_repeat_ngram_size": _no_repeat,
    "encoder_no_repeat_ngram_size": _no_repeat_of_source,
    "bad_words_ids": _bad_words,
    "min_new_tokens": _minimum,
    "forced_bos_token_id": _forced_first,
    "forced_eos_token_id": _forced_end,
    "remove_invalid_values": _invalid,
    "exponential_decay_length_penalty": _decay,
    "suppress_tokens": _suppressed,
    "begin_suppress_tokens": _suppressed_first,
    "renormalize_logits": _normalised,  # transformers repeats it after the filters, where it does not affect draws
}
