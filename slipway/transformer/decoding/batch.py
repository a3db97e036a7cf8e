"""Decode rows together, each by its own rule.

An engine feeds `tokens` of `rows`, passes the scores to `step` and reorders its caches by the parents it gets back. A
row's result depends only on its own scores. Plain greedy rows are decoded together because that is faster; all others
go through their own `DecodingRow`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import isfinite

import torch
from torch import Tensor

from slipway.errors import internal
from slipway.transformer.decoding import greedy
from slipway.transformer.decoding.decoding_row import DecodingRow, open_row
from slipway.transformer.decoding.hypothesis import GeneratedSequence
from slipway.transformer.decoding.logits_processor import RowContext
from slipway.transformer.generation import Decoding, GenerationListener


class DecodingBatch:
    """The hypotheses of several rows; those of one row are adjacent, and rows keep their order.

    `sources` are the ids that an encoder has read, for the rules of transformers that use them; by default the prompts.

    `rows` and `tokens` are int64 [n] on the device: the row that each hypothesis belongs to, and the token to feed
    next. `alive` is False when every row is finished. Raises an internal error for values that no rule accepts.
    """

    def __init__(
        self,
        decodings: Sequence[Decoding],
        prompts: Sequence[Sequence[int]],
        listener: GenerationListener,
        *,
        device: torch.device | str,
        sources: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if len(decodings) != len(prompts) or not all(len(prompt) for prompt in prompts):
            raise internal(f"{len(decodings)} rows to decode need the same number of non-empty prompts")
        for index, decoding in enumerate(decodings):
            check_decoding(index, decoding)
        self._device = torch.device(device)
        self._slots: list[GeneratedSequence | DecodingRow] = [
            GeneratedSequence(index, decoding, listener)
            if greedy.is_plain(decoding)
            else open_row(index, decoding, RowContext(prompt, source, self._device), listener)
            for index, (decoding, prompt, source) in enumerate(zip(decodings, prompts, sources or prompts, strict=True))
        ]
        self._widths = [1] * len(self._slots)
        self.rows = torch.arange(len(self._slots), device=self._device)
        self.tokens = self._tensor([int(prompt[-1]) for prompt in prompts])

    @property
    def alive(self) -> bool:
        """Whether any row continues."""
        return bool(self._slots)

    def step(self, logits: Tensor) -> Tensor | None:
        """Continue every hypothesis by the scores float32 [n, vocabulary] of its next token; the scores are only read.

        Return int64 [m], the hypothesis that each new one continues, or None if the order did not change.
        """
        parents: list[int] = []
        tokens: list[int] = []
        slots: list[GeneratedSequence | DecodingRow] = []
        widths: list[int] = []
        first = 0
        for slot, width, (origins, following) in zip(self._slots, self._widths, self._moves(logits), strict=True):
            if origins:
                slots.append(slot)
                widths.append(len(origins))
                parents.extend(first + origin for origin in origins)
                tokens.extend(following)
            first += width
        self._slots, self._widths = slots, widths
        self.tokens = self._tensor(tokens)
        if parents == list(range(first)):
            return None
        self.rows = self._tensor([slot.index for slot, width in zip(slots, widths, strict=True) for _ in range(width)])
        return self._tensor(parents)

    def _moves(self, logits: Tensor) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
        """Let each row choose; yield the parents (counted within the row) and tokens of its new hypotheses."""
        spans = list(zip(accumulate(self._widths, initial=0), self._widths, strict=False))
        sequences = [
            (slot, first)
            for slot, (first, _) in zip(self._slots, spans, strict=True)
            if isinstance(slot, GeneratedSequence)
        ]
        choices: Iterator[tuple[int, float]] = iter(())
        if sequences:
            alone = len(sequences) == len(self._slots)
            scores = logits if alone else logits[self._tensor([first for _, first in sequences])]
            choices = greedy.pick(scores, [sequence for sequence, _ in sequences])
        for slot, (first, width) in zip(self._slots, spans, strict=True):
            if isinstance(slot, GeneratedSequence):
                token, figure = next(choices)
                yield ((0,), (token,)) if slot.accept(token, figure, figure) else ((), ())
            else:
                yield slot.step(logits[first : first + width])

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)


def check_decoding(index: int, decoding: Decoding) -> None:
    """Raise an internal error that names every value of row `index` that no rule accepts.

    The code that makes a row checks and clips the client's values; this finds mistakes that would otherwise lead to NaN
    scores or endless loops.
    """
    shares = {"top_p_decay": decoding.top_p_decay, "top_p_min": decoding.top_p_min}
    finite = {
        "length_penalty": decoding.length_penalty,
        "diversity": decoding.diversity,
        "presence_penalty": decoding.presence_penalty,
    }
    counts = {"max_tokens": (decoding.max_tokens, 1), "beam_width": (decoding.beam_width, 1)}
    counts |= {"min_tokens": (decoding.min_tokens, 0), "top_k": (decoding.top_k, 0)}
    problems = [f"{name} is {value}, expected >= {least}" for name, (value, least) in counts.items() if value < least]
    problems += [f"{name} is {value}, expected (0, 1]" for name, value in shares.items() if not 0 < value <= 1]
    problems += [f"{name} is {value}, expected a finite one" for name, value in finite.items() if not isfinite(value)]
    if not 0 <= decoding.top_p <= 1:
        problems.append(f"top_p is {decoding.top_p}, expected [0, 1]")
    if not (isfinite(decoding.temperature) and decoding.temperature >= 0):
        problems.append(f"temperature is {decoding.temperature}, expected a finite one that is not negative")
    if not (isfinite(decoding.repetition_penalty) and decoding.repetition_penalty > 0):
        problems.append(f"repetition_penalty is {decoding.repetition_penalty}, expected a finite one above 0")
    if decoding.rules is not None:
        penalty, decay = decoding.rules.encoder_repetition_penalty, decoding.rules.exponential_decay
        if not (isfinite(penalty) and penalty > 0):
            problems.append(f"encoder_repetition_penalty is {penalty}, expected a finite one above 0")
        if decay is not None and not (isfinite(decay[1]) and decay[1] > 0):
            problems.append(f"the factor of exponential_decay is {decay[1]}, expected a finite one above 0")
    if problems:
        raise internal(f"row {index} cannot be decoded: {'; '.join(problems)}")
