"""The choice of engine: CTranslate2 on a CPU for what it does exactly, torch for everything else and on GPUs.

The choice is made per row: a row that CTranslate2 would not run exactly as asked goes to the torch engine, which is
opened when the first such row comes. Knows no format of checkpoints and nothing of either engine but its seam.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slipway.cores import cpu_limit
from slipway.errors import SlipwayError, invalid, unavailable, unsupported
from slipway.transformer.ctranslate2 import support
from slipway.transformer.generation import Encoded, Engine, Hypothesis, Listener, Row
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights

if TYPE_CHECKING:
    from slipway.transformer.ctranslate2.engine import CTranslate2Engine

ENGINES: Final = ("auto", "ctranslate2", "torch")
COMPUTE_TYPES: Final = ("float32", "bfloat16", "float16", "int8")
CPU_TYPES: Final = ("float32", "int8")  # of CTranslate2
DEVICE: Final = re.compile(r"cpu|cuda(:\d+)?")
INSTALL: Final = 'pip install "slipway[generate]"'

log = logging.getLogger("slipway.transformer")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a model's configuration says about its engine. `threads` 0 is the engine's choice; `workers` calls run at
    once; `cache_directory` is where converted models are kept, None the user's cache."""

    engine: str = "auto"
    compute_type: str = "float32"
    device: str = "cpu"
    threads: int = 0
    workers: int = 1
    cache_directory: Path | None = None

    def check(self) -> None:
        """Raise INVALID_ARG naming everything that is not a choice."""
        problems = []
        if self.engine not in ENGINES:
            problems.append(f"engine '{self.engine}' does not exist, choose one of {', '.join(ENGINES)}")
        if self.compute_type not in COMPUTE_TYPES:
            problems.append(f"compute type '{self.compute_type}' does not exist, one of {', '.join(COMPUTE_TYPES)}")
        if not DEVICE.fullmatch(self.device):
            problems.append(f"device '{self.device}' is neither cpu nor cuda nor cuda:N")
        if self.threads < 0:
            problems.append(f"threads is {self.threads}, expected 0 (the engine's choice) or more")
        if self.workers < 1:
            problems.append(f"workers is {self.workers}, expected 1 or more")
        if problems:
            raise invalid("; ".join(problems))


def open_engine(spec: Transformer, weights: Weights, options: EngineOptions, *, name: str) -> OpenEngine:
    """Return the engine that the options ask for, ready to compute; `name` is the model's, for messages.

    Raises INVALID_ARG for options that do not exist or an architecture that the engine cannot express, UNAVAILABLE
    where a library, a device or room for the converted model is missing.
    """
    options.check()

    def open_torch() -> Engine:
        return _open_torch(spec, weights, options, name)

    if options.engine == "torch":
        return OpenEngine(spec, name, options, exact=None, general=open_torch(), open_general=None)
    if options.engine == "ctranslate2":
        if not _installed("ctranslate2"):
            raise unavailable(f"model '{name}': engine 'ctranslate2' is not installed: {INSTALL}")
        try:
            exact = _open_ctranslate2(spec, weights, options)
        except SlipwayError as error:
            raise SlipwayError(error.code, f"model '{name}': {error.message}") from error
        return OpenEngine(spec, name, options, exact=exact, general=None, open_general=None)
    reason = _against_ctranslate2(spec, options)
    if reason:
        if options.device == "cpu":
            log.info("model '%s' computes with torch: %s", name, reason)
        return OpenEngine(spec, name, options, exact=None, general=open_torch(), open_general=None, reason=reason)
    exact = _open_ctranslate2(spec, weights, options)
    return OpenEngine(spec, name, options, exact=exact, general=None, open_general=open_torch)


class OpenEngine:
    """One or two engines behind the seam of one: `exact` (CTranslate2) for the rows it runs as asked, `general` (torch)
    for all others, opened when they come."""

    def __init__(
        self,
        spec: Transformer,
        name: str,
        options: EngineOptions,
        *,
        exact: CTranslate2Engine | None,
        general: Engine | None,
        open_general: Callable[[], Engine] | None,
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
        self._said: dict[str, None] = {}  # reasons for torch, in the order they came up

    @property
    def description(self) -> str:
        """What computes how, and why: for statistics and logs."""
        if self._exact is None:
            return self._torch_name + (f" (CTranslate2 cannot: {self._reason})" if self._reason else "")
        said = f"; {self._torch_name} for {', '.join(self._said)}" if self._said else ""
        return self._exact.description + said

    def refusal(self, row: Row) -> str:
        """Return why no open engine can run the row exactly as asked, "" when one can."""
        if self._exact is None:
            return self._other("").refusal(row)
        inexact = support.refusal(self._spec, row)
        if inexact and self._open_general is not None:
            return self._other(inexact).refusal(row)
        return self._exact.refusal(row)

    def generate(self, rows: Sequence[Row], listener: Listener) -> None:
        """Decode all rows, first those of CTranslate2, then those of torch."""
        for engine, part in self._parts(rows):
            engine.generate([rows[index] for index in part], _Part(part, listener))

    def encode(self, rows: Sequence[Row], *, attentions: bool = False) -> list[Encoded]:
        """Return the hidden states of each row."""
        results: dict[int, Encoded] = {}
        for engine, part in self._parts(rows, support.no_states(self._spec, attentions=attentions)):
            states = engine.encode([rows[index] for index in part], attentions=attentions)
            results.update(zip(part, states, strict=True))
        return [results[index] for index in range(len(rows))]

    def score(self, rows: Sequence[Row]) -> list[float]:
        """Return the mean negative log-probability of each row's own tokens after the first (decoder-only models)."""
        results: dict[int, float] = {}
        for engine, part in self._parts(rows):
            results.update(zip(part, engine.score([rows[index] for index in part]), strict=True))
        return [results[index] for index in range(len(rows))]

    def close(self) -> None:
        """Release the weights of both."""
        with self._lock:
            engines = [engine for engine in (self._exact, self._general) if engine is not None]
        for engine in engines:
            engine.close()

    def _parts(self, rows: Sequence[Row], for_all: str = "") -> list[tuple[Engine, list[int]]]:
        """Return which engine does which rows; `for_all` is a reason why torch has to do all of them."""
        if self._exact is None:
            return [(self._other(""), list(range(len(rows))))]
        reasons = [for_all or support.refusal(self._spec, row) for row in rows]
        refused = [index for index, reason in enumerate(reasons) if reason]
        if refused and self._open_general is None:
            raise unsupported(
                f"model '{self._name}': engine 'ctranslate2' does not do this exactly as asked: {reasons[refused[0]]}; "
                "set the engine to 'auto' or 'torch'"
            )
        parts: list[tuple[Engine, list[int]]] = []
        accepted = [index for index, reason in enumerate(reasons) if not reason]
        if accepted:
            parts.append((self._exact, accepted))
        if refused:
            for reason in dict.fromkeys(reasons[index] for index in refused):
                other = self._other(reason)
            parts.append((other, refused))
        return parts

    def _other(self, reason: str) -> Engine:
        """Return the torch engine, opened if it is not yet; the reason is logged when it is new."""
        with self._lock:
            if self._general is None:
                assert self._open_general is not None  # noqa: S101  _parts and refusal ask before
                self._general = self._open_general()
            if reason and reason not in self._said:
                self._said[reason] = None
                log.info(
                    "model '%s' computes with %s where CTranslate2 cannot: %s", self._name, self._torch_name, reason
                )
            return self._general


@dataclass(frozen=True, slots=True)
class _Part:
    """A listener of some of the rows under the indices they have among all."""

    rows: Sequence[int]
    listener: Listener

    def token(self, row: int, token: int, log_probability: float) -> bool:
        return self.listener.token(self.rows[row], token, log_probability)

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        self.listener.done(self.rows[row], hypotheses)


def _against_ctranslate2(spec: Transformer, options: EngineOptions) -> str:
    """Return why an automatic choice is torch from the start, "" when it is not."""
    if options.device != "cpu":
        return "torch is the engine for CUDA"
    if not _installed("ctranslate2"):
        return f"CTranslate2 is not installed ({INSTALL})"
    if options.compute_type not in CPU_TYPES:
        return f"CTranslate2 computes on a CPU in {' and '.join(CPU_TYPES)}, not in {options.compute_type}"
    return support.why_not(spec)


def _open_ctranslate2(spec: Transformer, weights: Weights, options: EngineOptions) -> CTranslate2Engine:
    from slipway.transformer.ctranslate2.engine import CTranslate2Engine

    return CTranslate2Engine(
        spec,
        weights,
        device=options.device,
        compute_type=options.compute_type,
        threads=options.threads,
        workers=options.workers,
        cache_directory=options.cache_directory,
    )


def _open_torch(spec: Transformer, weights: Weights, options: EngineOptions, name: str) -> Engine:
    if not _installed("torch"):
        missing = "torch" if _installed("ctranslate2") else "neither CTranslate2 nor torch"
        state = "is not installed" if missing == "torch" else "is installed"
        raise unavailable(f"model '{name}' cannot be computed: {missing} {state}: {INSTALL}")
    from slipway.transformer.torch_engine.engine import TorchEngine

    threads = options.threads or cpu_limit()  # left alone, torch may take one in threads it has not started
    return TorchEngine(spec, weights, device=options.device, dtype=options.compute_type, threads=threads)


def _installed(library: str) -> bool:
    return find_spec(library) is not None
