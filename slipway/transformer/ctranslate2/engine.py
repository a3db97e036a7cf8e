"""The engine that computes with CTranslate2: exact, or refused with a reason.

The model is converted once into the cache and loaded from there; one loaded model serves all callers. Knows no other
engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from slipway.cores import cpu_limit
from slipway.errors import internal, invalid, unsupported
from slipway.transformer.ctranslate2 import support
from slipway.transformer.ctranslate2.batches import CallGroup, StepCallback, groups, hypotheses
from slipway.transformer.ctranslate2.conversion_cache import ConversionCache, default_directory, digest
from slipway.transformer.ctranslate2.loaded_model import VERSION, CTranslate2Model, check_device
from slipway.transformer.generation import Decoding, Encoded, GenerationListener, Hypothesis, SequenceRequest
from slipway.transformer.spec import Transformer
from slipway.transformer.temporary_thread import run_in_temporary_thread
from slipway.transformer.trial import SMALL, fastest, remember, remembered, trial_row
from slipway.transformer.weights import Weights

STORED_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # per parameter, about


class CTranslate2Engine:
    """A specification and its weights, loaded into CTranslate2. `threads` 0: what a short measurement finds fastest.

    Raises INVALID_ARG where `support.why_not` has a reason, UNAVAILABLE where the device or room for the converted
    model is missing. `description` says what computes how.
    """

    def __init__(
        self,
        spec: Transformer,
        weights: Weights,
        *,
        device: str = "cpu",
        compute_type: str = "float32",
        threads: int = 0,
        workers: int = 1,
        cache_directory: Path | None = None,
    ) -> None:
        reason = support.why_not(spec)
        if reason:
            raise invalid(f"CTranslate2 cannot express this architecture: {reason}; use engine 'torch'")
        check_device(device, compute_type)
        self._spec = spec
        self._device, self._compute_type, self._workers = device, compute_type, workers
        self._parameters = weights.elements
        cache = ConversionCache(cache_directory or default_directory())
        self._path = self._converted(cache, weights)
        try:
            self._threads, self._library = self._loaded(threads)
        except RuntimeError:  # the entry is damaged, or another process made room: once more from the weights
            cache.discard(self._path)
            self._path = self._converted(cache, weights)
            self._threads, self._library = self._loaded(threads)
        count = f"{self._threads} thread{'s' if self._threads > 1 else ''}" if device == "cpu" else device
        self.description = f"ctranslate2 {compute_type}, {count}, cached at {self._path}"

    def refusal(self, row: SequenceRequest) -> str:
        """Return why the row would not be run exactly as asked, "" when it is."""
        inexact = support.refusal(self._spec, row)
        return f"CTranslate2 does not do this exactly: {inexact}" if inexact else support.impossible(self._spec, row)

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows; each is answered as soon as its last token is there."""
        self._check(rows)
        decodings = [_decoding(row) for row in rows]
        for row, decoding in enumerate(decodings):
            if decoding.max_tokens < 1:
                listener.done(row, [Hypothesis((), 0.0, 0.0)])
        prompts = [row.ids.size if self._spec.encoder is None else 0 for row in rows]
        for group in groups(decodings, prompts):
            sources = [rows[row].ids for row in group.rows]
            starts = [decodings[row].start_id for row in group.rows]
            if group.beam is None:
                self._library.greedy(sources, starts, StepCallback(group, decodings, listener), group)
            else:
                self._beam(group, sources, starts, listener)

    def _beam(
        self, group: CallGroup, sources: Sequence[np.ndarray], starts: Sequence[int], listener: GenerationListener
    ) -> None:
        """Search with beams. The library tells nothing before the end, so rows are asked for before and after."""
        assert group.beam is not None  # noqa: S101  the caller's choice
        waiting = any(listener.wanted(row) for row in group.rows)
        results = self._library.beam(sources, starts, group) if waiting else [[] for _ in group.rows]
        for row, finished in zip(group.rows, results, strict=True):
            listener.done(row, hypotheses(finished, group.beam) if listener.wanted(row) else [])

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:
        """Return the last hidden states of an encoder-only model's rows."""
        reason = support.no_states(self._spec, attentions=attentions)
        if reason:
            raise unsupported(f"CTranslate2 {reason}; use engine 'torch'")
        self._check(rows)
        if not rows:
            return []
        states = self._library.encode([row.ids for row in rows])
        return [Encoded(state[: row.ids.size]) for state, row in zip(states, rows, strict=True)]

    def score(self, rows: Sequence[SequenceRequest]) -> list[float]:
        """Return the mean negative log-probability of each row's tokens after the first, 0 for a row of one token."""
        if self._spec.encoder is not None:
            raise unsupported("only decoder-only models score their own tokens")
        self._check(rows)
        long = [index for index, row in enumerate(rows) if row.ids.size > 1]
        scores = dict.fromkeys(range(len(rows)), 0.0)  # one token has nothing to be scored
        if long:
            found = self._library.score([rows[index].ids for index in long])
            scores |= {index: -float(np.mean(figures)) for index, figures in zip(long, found, strict=True)}
        return list(scores.values())

    def close(self) -> None:
        """Release the weights."""
        self._library.close()

    def _converted(self, cache: ConversionCache, weights: Weights) -> Path:
        def write(directory: Path) -> None:
            from slipway.transformer.ctranslate2.model_writer import write_model

            write_model(self._spec, weights, directory, storage=self._compute_type)

        name = digest(self._spec, weights, self._compute_type, VERSION)
        return cache.entry(name, write, needed_bytes=self._parameters * STORED_BYTES[self._compute_type])

    def _loaded(self, threads: int) -> tuple[int, CTranslate2Model]:
        if not threads and (self._device != "cpu" or self._parameters < SMALL):
            threads = 1
        if threads:
            return threads, self._open(threads)
        question = f"threads for {self._workers} workers"
        choices = thread_choices(cpu_limit(), self._workers)
        known = remembered(self._path, question)
        if known in map(str, choices):
            return int(known), self._open(int(known))
        ids = trial_row(self._spec).ids
        threads, library = fastest(
            choices, self._open, lambda library, batch: library.trial(ids, batch), CTranslate2Model.close
        )
        remember(self._path, question, str(threads))
        return threads, library

    def _open(self, threads: int) -> CTranslate2Model:
        return run_in_temporary_thread(
            lambda: CTranslate2Model(
                self._spec,
                self._path,
                device=self._device,
                compute_type=self._compute_type,
                threads=threads,
                workers=self._workers,
            )
        )

    def _check(self, rows: Sequence[SequenceRequest]) -> None:
        """Raise what the library would compute wrongly without a word."""
        found = [(index, reason) for index, row in enumerate(rows) if (reason := self.refusal(row))]
        if found:
            inexact = any(support.refusal(self._spec, rows[index]) for index, _ in found)
            text = "; ".join(f"row {index}: {reason}" for index, reason in found)
            raise unsupported(f"{text}; use engine 'torch' or 'ctranslate2+torch'") if inexact else invalid(text)


def thread_choices(cores: int, workers: int) -> list[int]:
    """Return the numbers of threads worth a try when `workers` calls may run at once."""
    most = max(1, cores // workers)
    return sorted({1, max(1, most // 2), most})


def _decoding(row: SequenceRequest) -> Decoding:
    if row.decoding is None:
        raise internal("a row to generate for has no decoding")
    return row.decoding
