"""One or two engines behind the interface of one: opens them, and decides which of them runs which row.

`engine_choice.py` decides which engine a model is opened with. If that is CTranslate2 or OpenVINO, a row that it would
not run exactly as requested goes to torch, which is opened for the first of these rows. Knows no checkpoint format.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from slipway.cores import cpu_limit
from slipway.errors import SlipwayError, internal, unavailable, unsupported
from slipway.transformer.ctranslate2 import support as ctranslate2
from slipway.transformer.engine_choice import candidates, fastest_engine, small_choice
from slipway.transformer.generation import (
    Encoded,
    GenerationListener,
    ReindexedListener,
    SequenceRequest,
    StartedListener,
    StartedReindexed,
    TransformerEngine,
)
from slipway.transformer.openvino import support as openvino
from slipway.transformer.options import INSTALL, INSTALLS, EngineOptions, installed, torch_type
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
        library, _, other = options.engine.partition("+")
        if not installed(library):
            raise unavailable(f"model '{name}': engine '{options.engine}' is not installed: {INSTALLS[library]}")
        try:
            exact = _EXACT[library](spec, weights, options)
        except SlipwayError as error:
            raise SlipwayError(error.code, f"model '{name}': {error.message}") from error
        return RoutingEngine(spec, name, options, exact=exact, general=None, open_general=open_torch if other else None)
    exact_ones: dict[str, ExactEngine] = {}

    def open_exact(library: str) -> TransformerEngine:
        exact_ones[library] = _EXACT[library](spec, weights, options)
        return exact_ones[library].engine

    openers = {"torch": open_torch} | {library: partial(open_exact, library) for library in _EXACT}
    names, reason = candidates(spec, options, typical)
    if not names:
        raise unsupported(f"model '{name}' cannot be computed in {options.compute_type}: {reason}")
    if len(names) > 1 and weights.elements >= SMALL:
        reason, choice, engine = fastest_engine(spec, options, {each: openers[each] for each in names})
    else:
        choice = small_choice(names)
        engine = openers[choice]()
    if choice == "torch":
        return RoutingEngine(spec, name, options, exact=None, general=engine, open_general=None, reason=reason)
    return RoutingEngine(spec, name, options, exact=exact_ones[choice], general=None, open_general=open_torch)


@dataclass(frozen=True, slots=True)
class ExactEngine:
    """An engine that runs only some rows: why it would not run a row exactly as requested, or return hidden states."""

    engine: TransformerEngine
    library: str  # as in messages
    inexact: Callable[[SequenceRequest], str]
    no_states: Callable[[bool], str]  # for a caller that wants attention probabilities, or not


class RoutingEngine:
    """One or two engines behind the interface of one: `exact` (CTranslate2 or OpenVINO) for the rows that it runs
    exactly as requested, `general` (torch) for all others, opened when needed."""

    def __init__(
        self,
        spec: Transformer,
        name: str,
        options: EngineOptions,
        *,
        exact: ExactEngine | None,
        general: TransformerEngine | None,
        open_general: Callable[[], TransformerEngine] | None,
        reason: str = "",
    ) -> None:
        self._spec = spec
        self._name = name
        self._options = options
        self._exact = exact
        self._general = general
        self._open_general = open_general
        self._reason = reason
        self._torch_name = f"torch {torch_type(options)}, {options.device}"
        self._lock = threading.Lock()
        self._closed = False
        self._said: dict[str, None] = {}  # reasons for torch, in the order in which they came up

    @property
    def description(self) -> str:
        """The library, its precision and device, and the reason for the choice: for statistics and logs."""
        if self._exact is None:
            return self._torch_name + (f" ({self._reason})" if self._reason else "")
        said = f"; {self._torch_name} for {', '.join(self._said)}" if self._said else ""
        return self._exact.engine.description + said

    def refusal(self, row: SequenceRequest) -> str:
        """Return why no open engine can run the row exactly as requested, "" if one can."""
        if self._exact is None:
            return self._other("").refusal(row)
        inexact = self._exact.inexact(row)
        if inexact and self._open_general is not None:
            return self._other(inexact).refusal(row)
        return self._exact.engine.refusal(row)

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows, first those for CTranslate2 or OpenVINO, then those for torch."""
        for engine, part in self._parts(rows):
            engine.generate([rows[index] for index in part], ReindexedListener(listener, part))

    def joins(self, row: SequenceRequest) -> bool:
        """Return whether the engine that runs the row can do so in its running batch."""
        if self._exact is None:
            return self._other("").joins(row)
        inexact = self._exact.inexact(row)
        if inexact and self._open_general is not None:
            return self._other(inexact).joins(row)
        return self._exact.engine.joins(row)

    def room(self, row: SequenceRequest) -> int:
        """Return how many tokens the memory of the engine that runs the row holds of it, 0 if it sets no limit."""
        if self._exact is None:
            return self._other("").room(row)
        inexact = self._exact.inexact(row)
        if inexact and self._open_general is not None:
            return self._other(inexact).room(row)
        return self._exact.engine.room(row)

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        """Let rows that can join the running batch of their engine do so."""
        for engine, part in self._parts(rows):
            engine.start([rows[index] for index in part], StartedReindexed(listener, part))

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:
        """Return the hidden states of each row."""
        results: dict[int, Encoded] = {}
        no_states = "" if self._exact is None else self._exact.no_states(attentions)
        for engine, part in self._parts(rows, no_states):
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
        found = (engine.stats() for engine in self._engines())
        return next((stats for stats in found if stats is not None), None)

    def close(self) -> None:
        """Release the weights of both engines."""
        with self._lock:
            self._closed = True
            engines = self._engines()
        for engine in engines:
            engine.close()

    def _engines(self) -> list[TransformerEngine]:
        exact = [] if self._exact is None else [self._exact.engine]
        return exact if self._general is None else [*exact, self._general]

    def _parts(self, rows: Sequence[SequenceRequest], for_all: str = "") -> list[tuple[TransformerEngine, list[int]]]:
        """Return which engine runs which rows; `for_all` is a reason why torch must run all of them."""
        if self._exact is None:
            return [(self._other(""), list(range(len(rows))))]
        reasons = [for_all or self._exact.inexact(row) for row in rows]
        refused = [index for index, reason in enumerate(reasons) if reason]
        if refused and self._open_general is None:
            raise unsupported(
                f"model '{self._name}': engine '{self._options.engine}' cannot do this exactly: {reasons[refused[0]]}; "
                f"set the engine to '{self._options.engine}+torch' or 'torch'"
            )
        parts: list[tuple[TransformerEngine, list[int]]] = []
        accepted = [index for index, reason in enumerate(reasons) if not reason]
        if accepted:
            parts.append((self._exact.engine, accepted))
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
                library = "" if self._exact is None else self._exact.library
                _LOG.info(
                    "model '%s' uses %s for what %s does not support: %s", self._name, self._torch_name, library, reason
                )
            return self._general


def _open_ctranslate2(spec: Transformer, weights: Weights, options: EngineOptions) -> ExactEngine:
    from slipway.transformer.ctranslate2.engine import CTranslate2Engine

    engine = CTranslate2Engine.open(
        spec,
        weights,
        device=options.device,
        compute_type=options.compute_type,
        threads=options.threads,
        workers=options.workers,
        cache_directory=options.cache_directory,
    )
    return ExactEngine(
        engine,
        "CTranslate2",
        lambda row: ctranslate2.refusal(spec, row),
        lambda attentions: ctranslate2.no_states(spec, attentions=attentions),
    )


def _open_openvino(spec: Transformer, weights: Weights, options: EngineOptions) -> ExactEngine:
    from slipway.transformer.openvino.engine import OpenVinoEngine

    engine = OpenVinoEngine.open(
        spec,
        weights,
        compute_type=options.compute_type,
        threads=options.threads,
        cache_directory=options.cache_directory,
        running=options.running,
    )
    return ExactEngine(
        engine, "OpenVINO", openvino.refusal, lambda attentions: openvino.no_states(attentions=attentions)
    )


_EXACT: Final[Mapping[str, Callable[[Transformer, Weights, EngineOptions], ExactEngine]]] = {
    "ctranslate2": _open_ctranslate2,
    "openvino": _open_openvino,
}


def _open_torch(spec: Transformer, weights: Weights, options: EngineOptions, name: str) -> TransformerEngine:
    if not installed("torch"):
        missing = "torch" if installed("ctranslate2") else "neither CTranslate2 nor torch"
        state = "is not installed" if missing == "torch" else "is installed"
        raise unavailable(f"model '{name}' cannot be computed: {missing} {state}: {INSTALL}")
    from slipway.transformer.torch_engine.engine import TorchEngine

    threads = options.threads or cpu_limit()  # by default torch may use one thread in threads that it did not start
    return TorchEngine.open(
        spec, weights, device=options.device, dtype=torch_type(options), threads=threads, running=options.running
    )
