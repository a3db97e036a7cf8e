"""The engine that computes decoder-only models with OpenVINO: every row in a running batch, or refused with a reason.

Scores are chosen from in torch, on one thread (`decoding/`); the library has threads of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from slipway.cores import cpu_limit
from slipway.errors import invalid, unavailable, unsupported
from slipway.transformer.conversion_cache import ConversionCache, default_directory
from slipway.transformer.generation import Encoded, GenerationListener, SequenceRequest, StartedListener
from slipway.transformer.openvino import support
from slipway.transformer.openvino.loading import load
from slipway.transformer.openvino.network import OpenVinoModel
from slipway.transformer.openvino.running import OpenVinoRunning
from slipway.transformer.openvino.scoring import mean_negative_log_probability
from slipway.transformer.paged.blocking import WaitingListener
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.paged.running_row import most_tokens
from slipway.transformer.paged.scheduler import too_long
from slipway.transformer.paged.stats import RunningStats
from slipway.transformer.spec import Transformer
from slipway.transformer.torch_engine.compute_thread import COMPUTE_THREADS, ComputeThread
from slipway.transformer.torch_engine.paged_network import shared_length
from slipway.transformer.weights import Weights

_DEFAULTS: Final = RunningOptions()
_STEPPING: Final = 1  # threads of torch: more would compete with the library's


class OpenVinoEngine:
    """A `generation.TransformerEngine` on OpenVINO's CPU plugin."""

    def __init__(
        self,
        spec: Transformer,
        model: OpenVinoModel,
        thread: ComputeThread,
        description: str,
        *,
        running: RunningOptions = _DEFAULTS,
    ) -> None:
        """Take a compiled model and the thread that steps; `description` names the library and its precision."""
        self._spec = spec
        self._model: OpenVinoModel | None = model
        self._thread = thread
        self._closing = Lock()
        self._running = OpenVinoRunning(
            model, running, lambda steps: thread.begin(steps, _STEPPING), shared_length(spec)
        )
        self.description = description

    @classmethod
    def open(
        cls,
        spec: Transformer,
        weights: Weights,
        *,
        compute_type: str = "float32",
        threads: int = 0,
        cache_directory: Path | None = None,
        running: RunningOptions = _DEFAULTS,
    ) -> OpenVinoEngine:
        """Return an engine with its weights loaded. `threads` 0: as many as the process may use cores.

        Raises INVALID_ARG if `support.why_not` has a reason, or the precision does not exist here; UNAVAILABLE if the
        library is too old or cannot compile the graph, or disk space for the stored weights is missing.
        """
        if compute_type not in support.PRECISIONS:
            raise invalid(f"OpenVINO computes in {', '.join(support.PRECISIONS)}, not in {compute_type}")
        outdated, reason = support.too_old(), support.why_not(spec)
        if outdated:
            raise unavailable(outdated)
        if reason:
            raise invalid(f"OpenVINO cannot express this architecture: {reason}; use engine 'torch'")
        count = threads or cpu_limit()
        cache = ConversionCache(cache_directory or default_directory())
        model, path = load(spec, weights, compute_type, cache, threads=count)
        thread, _ = COMPUTE_THREADS.acquire("cpu", _STEPPING)
        words = f"openvino {compute_type}, {count} thread{'s' if count > 1 else ''}, cached at {path}"
        return cls(spec, model, thread, words, running=running)

    def refusal(self, row: SequenceRequest) -> str:
        """Return why the row would not be run exactly as requested, "" if it would."""
        inexact = support.refusal(row)
        if inexact:
            return f"OpenVINO cannot do this: {inexact}"
        return support.impossible(self._spec, row) or too_long(most_tokens(row), self._running.room)

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows; report each as soon as its last token is generated."""
        waiting = WaitingListener(listener, len(rows))
        if rows:
            self.start(rows, waiting)
        waiting.wait()

    def joins(self, row: SequenceRequest) -> bool:
        """Return whether the row can run together with those of other callers."""
        return self._running.joinable and not support.refusal(row)

    def room(self, row: SequenceRequest) -> int:  # noqa: ARG002  all rows run there
        """Return how many tokens the pages of the running batch hold."""
        return self._running.room

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        """Put rows into the running batch."""
        model = self._opened()
        self._check(rows)
        self._running.batch(model).start(rows, listener)

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:  # noqa: ARG002
        """Raise UNSUPPORTED: the graph returns scores only."""
        raise unsupported(f"OpenVINO {support.no_states(attentions=attentions)}; use engine 'torch'")

    def score(self, rows: Sequence[SequenceRequest]) -> list[float]:
        """Return the mean negative log-probability of each row's tokens after the first, 0 for a row of one token."""
        model = self._opened()
        self._check(rows)
        return [mean_negative_log_probability(model, np.asarray(row.ids)) for row in rows]

    def stats(self) -> RunningStats | None:
        """Return the figures of the running batch."""
        return self._running.stats()

    def close(self) -> None:
        """Release the weights when all current rows are done; refuse later calls."""
        with self._closing:
            if self._model is not None:
                self._model = None
                self._running.close()
                COMPUTE_THREADS.release(self._thread, _STEPPING)

    def _opened(self) -> OpenVinoModel:
        model = self._model
        if model is None:
            raise unavailable("the engine is closed")
        return model

    def _check(self, rows: Sequence[SequenceRequest]) -> None:
        """Raise an error that names every row that cannot be run."""
        found = [(index, reason) for index, row in enumerate(rows) if (reason := self.refusal(row))]
        if found:
            text = "; ".join(f"row {index}: {reason}" for index, reason in found)
            inexact = any(support.refusal(rows[index]) for index, _ in found)
            raise unsupported(f"{text}; use engine 'torch' or 'openvino+torch'") if inexact else invalid(text)
