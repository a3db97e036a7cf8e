"""The engine that computes with CTranslate2: exactly as requested, or refused with a reason.

One loaded model serves all callers; `loading.py` loads it. Knows no other engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slipway.errors import internal, invalid, unsupported
from slipway.transformer.conversion_cache import ConversionCache, default_directory
from slipway.transformer.ctranslate2 import support
from slipway.transformer.ctranslate2.batches import BeamOptions, CallGroup, StepCallback, groups, hypotheses
from slipway.transformer.ctranslate2.loaded_model import CTranslate2Model, check_device
from slipway.transformer.ctranslate2.loading import ModelLoader
from slipway.transformer.generation import (
    Decoding,
    Encoded,
    GenerationListener,
    Hypothesis,
    SequenceRequest,
    StartedListener,
)
from slipway.transformer.paged.stats import RunningStats
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights


class CTranslate2Engine:
    """A `generation.TransformerEngine` on CTranslate2."""

    def __init__(self, spec: Transformer, model: CTranslate2Model, description: str) -> None:
        """Take a loaded model; `description` names the library, its precision and device."""
        self._spec = spec
        self._model = model
        self.description = description

    @classmethod
    def open(
        cls,
        spec: Transformer,
        weights: Weights,
        *,
        device: str = "cpu",
        compute_type: str = "float32",
        threads: int = 0,
        workers: int = 1,
        cache_directory: Path | None = None,
    ) -> CTranslate2Engine:
        """Return an engine with its weights loaded. `threads` 0: the number that a short measurement finds fastest.

        Raises INVALID_ARG if `support.why_not` has a reason, UNAVAILABLE if the device or disk space for the converted
        model is missing.
        """
        reason = support.why_not(spec)
        if reason:
            raise invalid(f"CTranslate2 cannot express this architecture: {reason}; use engine 'torch'")
        check_device(device, compute_type)
        loader = ModelLoader(spec, weights, device, compute_type, workers)
        loaded = loader.load(ConversionCache(cache_directory or default_directory()), threads)
        count = f"{loaded.threads} thread{'s' if loaded.threads > 1 else ''}" if device == "cpu" else device
        return cls(spec, loaded.model, f"ctranslate2 {compute_type}, {count}, cached at {loaded.path}")

    def refusal(self, row: SequenceRequest) -> str:
        """Return why the row would not be run exactly as requested, "" if it would."""
        inexact = support.refusal(self._spec, row)
        return f"CTranslate2 cannot do this exactly: {inexact}" if inexact else support.impossible(self._spec, row)

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows; report each as soon as its last token is generated."""
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
                self._model.greedy(sources, starts, StepCallback(group, decodings, listener), group)
            else:
                self._search(group, group.beam, sources, starts, listener)

    def _search(
        self,
        group: CallGroup,
        beam: BeamOptions,
        sources: Sequence[np.ndarray],
        starts: Sequence[int],
        listener: GenerationListener,
    ) -> None:
        """Search with beams. The library reports only at the end, so `wanted` is called before and after the search."""
        waiting = any(listener.wanted(row) for row in group.rows)
        results = self._model.beam(sources, starts, group, beam) if waiting else [[] for _ in group.rows]
        for row, finished in zip(group.rows, results, strict=True):
            listener.done(row, hypotheses(finished, beam) if listener.wanted(row) else [])

    def joins(self, row: SequenceRequest) -> bool:  # noqa: ARG002
        """Return False: rows cannot join a batch that CTranslate2 computes."""
        return False

    def room(self, row: SequenceRequest) -> int:  # noqa: ARG002
        """Return 0: the library sets no limit."""
        return 0

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:  # noqa: ARG002
        """Raise: no row can join."""
        raise internal("CTranslate2 does not have a running batch")

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:
        """Return the last hidden states of an encoder-only model's rows."""
        reason = support.no_states(self._spec, attentions=attentions)
        if reason:
            raise unsupported(f"CTranslate2 {reason}; use engine 'torch'")
        self._check(rows)
        if not rows:
            return []
        states = self._model.encode([row.ids for row in rows])
        return [Encoded(state[: row.ids.size]) for state, row in zip(states, rows, strict=True)]

    def score(self, rows: Sequence[SequenceRequest]) -> list[float]:
        """Return the mean negative log-probability of each row's tokens after the first, 0 for a row of one token."""
        if self._spec.encoder is not None:
            raise unsupported("only decoder-only models score their own tokens")
        self._check(rows)
        long = [index for index, row in enumerate(rows) if row.ids.size > 1]
        scores = dict.fromkeys(range(len(rows)), 0.0)  # a row of one token has nothing to score
        if long:
            found = self._model.score([rows[index].ids for index in long])
            scores |= {index: -float(np.mean(figures)) for index, figures in zip(long, found, strict=True)}
        return list(scores.values())

    def stats(self) -> RunningStats | None:
        """Return None: CTranslate2 keeps its memory to itself."""
        return None

    def close(self) -> None:
        """Release the weights."""
        self._model.close()

    def _check(self, rows: Sequence[SequenceRequest]) -> None:
        """Raise an error for rows that the library would silently compute wrongly."""
        found = [(index, reason) for index, row in enumerate(rows) if (reason := self.refusal(row))]
        if found:
            inexact = any(support.refusal(self._spec, rows[index]) for index, _ in found)
            text = "; ".join(f"row {index}: {reason}" for index, reason in found)
            raise unsupported(f"{text}; use engine 'torch' or 'ctranslate2+torch'") if inexact else invalid(text)


def _decoding(row: SequenceRequest) -> Decoding:
    if row.decoding is None:
        raise internal("a row to decode has no decoding")
    return row.decoding
