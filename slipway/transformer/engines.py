"""One or two engines behind the interface of one: opens them, and decides which of them runs which row.

`engine_choice.py` decides which engine a model is opened with. If that is CTranslate2, a row that it would not run
exactly as requested goes to torch, which is opened for the first of these rows. Knows no checkpoint format.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from slipway.cores import cpu_limit
from slipway.errors import SlipwayError, internal, unavailable, unsupported
from slipway.transformer.ctranslate2 import support
from slipway.transformer.engine_choice import faster, why_torch
from slipway.transformer.generation import (
    Encoded,
    GenerationListener,
    ReindexedListener,
    SequenceRequest,
    StartedListener,
    StartedReindexed,
    TransformerEngine,
)
from slipway.transformer.options import INSTALL, EngineOptions, installed
from slipway.transformer.paged.stats import RunningStats
from slipway.transformer.spec import Transformer
from slipway.transformer.trial import SMALL
from slipway.transformer.weights import Weights

_LOG: Final = logging.getLogger("slipway.transformer")


def open_engine(
    spec: Transformer, weights: Weights, options: EngineOptions, *, name: str, typical: SequenceRequest | None = None
) -> RoutingEngine:
    """Return the engine that the options ask for, ready to compute; `name` is the model's name, for messages. The
    caller logs the engine's `description`.

    `typical` is a row with the decoding that all rows of the model have, if they all have the same: an automatic choice
    never opens an engine that would refuse it.

    Raises INVALID_ARG for invalid options or an architecture that the engine cannot express, UNAVAILABLE if a library,
    a device or disk space for the converted model is missing.
    """
    options.check()

    def open_torch() -> TransformerEngine:
        return _open_torch(spec, weights, options, name)

    if options.engine == "torch":
        return RoutingEngine(spec, name, options, exact=None, general=open_torch(), open_general=None)
    if options.engine != "auto":
        if not installed("ctranslate2"):
            raise unavailable(f"model '{name}': engine '{options.engine}' is not installed: {INSTALL}")
        try:
            exact = _open_ctranslate2(spec, weights, options)
        except SlipwayError as error:
            raise SlipwayError(error.code, f"model '{name}': {error.message}") from error
        others = open_torch if options.engine == "ctranslate2+torch" else None
        return RoutingEngine(spec, name, options, exact=exact, general=None, open_general=others)
    reason = why_torch(spec, options, typical)
    if not reason and installed("torch") and weights.elements >= SMALL:
        reason, engine = faster(spec, options, lambda: _open_ctranslate2(spec, weights, options), open_torch)
    else:
        engine = open_torch() if reason else _open_ctranslate2(spec, weights, options)
    if reason:
        return RoutingEngine(spec, name, options, exact=None, general=engine, open_general=None, reason=reason)
    return RoutingEngine(spec, name, options, exact=engine, general=None, open_general=open_torch)


class RoutingEngine:
    """One or two engines behind the interface of one: `exact` (CTranslate2) for the rows that it runs exactly as
    requested, `general` (torch) for all others, opened when needed."""

    def __init__(
        self,
        spec: Transformer,
        name: str,
        options: EngineOptions,
        *,
        exact: TransformerEngine | None,
        general: TransformerEngine | None,
        open_general: Callable[[], TransformerEngine] | None,
        reason: str = "",
    ) -> None:
        self._spec = spec
        self._name = name
        self._exact = exact
        self._general = general
        self._open_general = open_general
        self._reason = reason
        self._torch_name = f"torch {options.compute_type}, {options.device}"
        self._lock = threading.Lock()
        self._closed = False
        self._said: dict[str, None] = {}  # reasons for torch, in the order in which they came up

    @property
    def description(self) -> str:
        """The library, its precision and device, and the reason for the choice: for statistics and logs."""
        if self._exact is None:
            return self._torch_name + (f" ({self._reason})" if self._reason else "")
        said = f"; {self._torch_name} for {', '.join(self._said)}" if self._said else ""
        return self._exact.description + said

    def refusal(self, row: SequenceRequest) -> str:
        """Return why no open engine can run the row exactly as requested, "" if one can."""
        if self._exact is None:
            return self._other("").refusal(row)
        inexact = support.refusal(self._spec, row)
        if inexact and self._open_general is not None:
            return self._other(inexact).refusal(row)
        return self._exact.refusal(row)

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows, first those for CTranslate2, then those for torch."""
        for engine, part in self._parts(rows):
            engine.generate([rows[index] for index in part], ReindexedListener(listener, part))

    def joins(self, row: SequenceRequest) -> bool:
        """Return whether the engine that runs the row can do so in its running batch."""
        if self._exact is None:
            return self._other("").joins(row)
        inexact = support.refusal(self._spec, row)
        if inexact and self._open_general is not None:
            return self._other(inexact).joins(row)
        return self._exact.joins(row)

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        """Let rows that can join the running batch of their engine do so."""
        for engine, part in self._parts(rows):
            engine.start([rows[index] for index in part], StartedReindexed(listener, part))

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:
        """Return the hidden states of each row."""
        results: dict[int, Encoded] = {}
        for engine, part in self._parts(rows, support.no_states(self._spec, attentions=attentions)):
            states = engine.encode([rows[index] for index in part], attentions=attentions)
            results.update(zip(part, states, strict=True))
        return [results[index] for index in range(len(rows))]

    def score(self, rows: Sequence[SequenceRequest]) -> list[float]:
        """Return the mean negative log-probability of each row's own tokens after the first (decoder-only models)."""
        results: dict[int, float] = {}
        for engine, part in self._parts(rows):
            results.update(zip(part, engine.score([rows[index] for index in part]), strict=True))
        return [results[index] for index in range(len(rows))]

    def stats(self) -> RunningStats | None:
        """Return the figures of the running batch of the engine that has one."""
        found = (engine.stats() for engine in (self._exact, self._general) if engine is not None)
        return next((stats for stats in found if stats is not None), None)

    def close(self) -> None:
        """Release the weights of both engines."""
        with self._lock:
            self._closed = True
            engines = [engine for engine in (self._exact, self._general) if engine is not None]
        for engine in engines:
            engine.close()

    def _parts(self, rows: Sequence[SequenceRequest], for_all: str = "") -> list[tuple[TransformerEngine, list[int]]]:
        """Return which engine runs which rows; `for_all` is a reason why torch must run all of them."""
        if self._exact is None:
            return [(self._other(""), list(range(len(rows))))]
        reasons = [for_all or support.refusal(self._spec, row) for row in rows]
        refused = [index for index, reason in enumerate(reasons) if reason]
        if refused and self._open_general is None:
            raise unsupported(
                f"model '{self._name}': engine 'ctranslate2' cannot do this exactly: {reasons[refused[0]]}; "
                "set the engine to 'ctranslate2+torch' or 'torch'"
            )
        parts: list[tuple[TransformerEngine, list[int]]] = []
        accepted = [index for index, reason in enumerate(reasons) if not reason]
        if accepted:
            parts.append((self._exact, accepted))
        if refused:
            for reason in dict.fromkeys(reasons[index] for index in refused):
                other = self._other(reason)
            parts.append((other, refused))
        return parts

    def _other(self, reason: str) -> TransformerEngine:
        """Return the torch engine, and open it if needed; log the reason if it is new."""
        with self._lock:
            if self._general is None:
                if self._closed:
                    raise unavailable(f"model '{self._name}': the engine is closed")
                if self._open_general is None:  # `_parts` and `refusal` check this first
                    raise internal(f"model '{self._name}' has only one engine, which cannot run this: {reason}")
                self._general = self._open_general()
            if reason and reason not in self._said:
                self._said[reason] = None
                _LOG.info(
                    "model '%s' uses %s for what CTranslate2 does not support: %s", self._name, self._torch_name, reason
                )
            return self._general


def _open_ctranslate2(spec: Transformer, weights: Weights, options: EngineOptions) -> TransformerEngine:
    from slipway.transformer.ctranslate2.engine import CTranslate2Engine

    return CTranslate2Engine.open(
        spec,
        weights,
        device=options.device,
        compute_type=options.compute_type,
        threads=options.threads,
        workers=options.workers,
        cache_directory=options.cache_directory,
    )


def _open_torch(spec: Transformer, weights: Weights, options: EngineOptions, name: str) -> TransformerEngine:
    if not installed("torch"):
        missing = "torch" if installed("ctranslate2") else "neither CTranslate2 nor torch"
        state = "is not installed" if missing == "torch" else "is installed"
        raise unavailable(f"model '{name}' cannot be computed: {missing} {state}: {INSTALL}")
    from slipway.transformer.torch_engine.engine import TorchEngine

    threads = options.threads or cpu_limit()  # by default torch may use one thread in threads that it did not start
    return TorchEngine.open(
        spec, weights, device=options.device, dtype=options.compute_type, threads=threads, running=options.running
    )
