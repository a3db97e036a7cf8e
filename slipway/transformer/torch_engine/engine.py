"""The torch engine: one network with its weights, called from any number of threads.

All calls are computed on a compute thread (`compute_thread.py`), step by step in turn with those of other callers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from slipway.errors import SlipwayError, internal, invalid, unavailable, unsupported
from slipway.transformer.decoding.batch import DecodingBatch
from slipway.transformer.generation import (
    Encoded,
    GenerationListener,
    Hypothesis,
    ReindexedListener,
    SequenceRequest,
    StartedListener,
)
from slipway.transformer.module.decoder_state import DecoderState
from slipway.transformer.module.inputs import EmbeddedTokens
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.paged.blocking import WaitingListener
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.paged.stats import RunningStats
from slipway.transformer.spec import Transformer
from slipway.transformer.temporary_thread import run_in_temporary_thread
from slipway.transformer.torch_engine import chunks
from slipway.transformer.torch_engine.compute_thread import COMPUTE_THREADS, ComputeThread, Result, Work, computing
from slipway.transformer.torch_engine.input_builder import InputBuilder
from slipway.transformer.torch_engine.refusal import problems
from slipway.transformer.torch_engine.running import TorchRunning
from slipway.transformer.torch_engine.step_runner import choose_step_runner

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # for everything but the linear layers
}
_DEFAULTS = RunningOptions()
_SCORED_AT_ONCE = 256  # tokens whose scores over the vocabulary are in memory together


class TorchEngine:
    """A `generation.TransformerEngine` on torch: a network, and the thread that computes with it."""

    def __init__(
        self,
        network: Network,
        thread: ComputeThread,
        *,
        threads: int,
        description: str,
        running: RunningOptions = _DEFAULTS,
    ) -> None:
        """Take a loaded network and a compute thread, on which the engine may compute with `threads` threads."""
        self._spec = network.spec
        self._device = network.like.device
        self._network: Network | None = network
        self._thread = thread
        self._threads = threads
        self._closing = Lock()
        self._running = TorchRunning(network, running, lambda steps: thread.begin(steps, threads))
        self.description = description

    @classmethod
    def open(
        cls,
        spec: Transformer,
        weights: Mapping[str, np.ndarray],
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 0,
        running: RunningOptions = _DEFAULTS,
    ) -> TorchEngine:
        """Return an engine with its weights loaded; `weights` is read once, array by array, and not kept.

        `threads` 0 keeps torch's own number; `running` are the settings of the running batch. Raises UNSUPPORTED for a
        dtype or device that is not available.
        """
        where = _device(device, dtype)
        threads = threads or torch.get_num_threads()

        def load() -> Network:
            with computing(threads):
                return Network(spec, LayerBuilder(weights, device=where, dtype=_DTYPES[dtype], int8=dtype == "int8"))

        with _failures():
            network = run_in_temporary_thread(load)
        thread, granted = COMPUTE_THREADS.acquire(str(where), threads)
        description = f"torch {dtype}, {device}"
        return cls(network, thread, threads=granted, description=description, running=running)

    def refusal(self, row: SequenceRequest) -> str:
        """Return why the row cannot be computed, "" if it can."""
        reasons = list(problems(self._spec, row))
        if row.decoding is not None and self._spec.decoder is None:
            reasons.append("the model is an encoder and cannot generate")
        if not reasons and self.joins(row):
            reasons.append(self._running.refusal(row))
        return "; ".join(filter(None, reasons))

    def generate(self, rows: Sequence[SequenceRequest], listener: GenerationListener) -> None:
        """Decode all rows, each by its own `decoding`; return when `listener.done` has been called for each."""
        network = self._opened()
        if self._spec.decoder is None:
            raise unsupported("the model is an encoder and cannot generate")
        self._check(rows)
        joining = [index for index, row in enumerate(rows) if self.joins(row)]
        others = [index for index, row in enumerate(rows) if not self.joins(row)]
        waiting = WaitingListener(ReindexedListener(listener, joining), len(joining))
        if joining:
            self._begin_running(network, [rows[index] for index in joining], waiting)
        if others:
            listener = _GuardedListener(ReindexedListener(listener, others))
            try:
                self._compute(self._generate(network, [rows[index] for index in others], listener))
            except Exception as error:  # noqa: BLE001  `wait` raises it, once no row reports to the listener any more
                waiting.stop(error)
        waiting.wait()

    def joins(self, row: SequenceRequest) -> bool:
        """Return whether the row can join the running batch."""
        return self._running.takes(row)

    def room(self, row: SequenceRequest) -> int:
        """Return how many tokens of the row the pages of the running batch hold; 0 if it cannot join."""
        return self._running.room if self.joins(row) else 0

    def start(self, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        """Put rows that can join into the running batch."""
        network = self._opened()
        self._check(rows)
        self._begin_running(network, rows, listener)

    def encode(self, rows: Sequence[SequenceRequest], *, attentions: bool = False) -> list[Encoded]:
        """Return each row's last hidden states, and its attention probabilities if requested."""
        network = self._opened()
        if self._spec.encoded_size:
            raise unsupported("the model has no encoder: another model computes its states")
        self._check(rows)
        return self._compute(self._encode(network, rows, attentions=attentions))

    def score(self, rows: Sequence[SequenceRequest]) -> list[float]:
        """Return the mean negative log-probability of each row's tokens after the first, 0 for a row of one token."""
        network = self._opened()
        if not self._spec.continues:
            raise unsupported("only decoder-only models score their own input")
        self._check(rows)
        return self._compute(self._score(network, rows))

    def stats(self) -> RunningStats | None:
        """Return the figures of the running batch, None if the architecture cannot have one."""
        return self._running.stats()

    def close(self) -> None:
        """Release the weights when all current calls are done; refuse later calls."""
        with self._closing:
            if self._network is not None:
                self._network = None
                self._running.close()
                COMPUTE_THREADS.release(self._thread, self._threads)

    def _begin_running(self, network: Network, rows: Sequence[SequenceRequest], listener: StartedListener) -> None:
        with _failures():  # there may be no memory for the pages
            batch = self._running.batch(network)
        batch.start(rows, listener)

    def _compute(self, work: Work[Result]) -> Result:
        """Run `work` on the compute thread."""
        with _failures():
            return self._thread.run(work, self._threads)

    def _generate(self, network: Network, rows: Sequence[SequenceRequest], listener: GenerationListener) -> Work[None]:
        for chunk in chunks.for_decoding(self._spec, rows):
            yield from self._decode(network, [rows[index] for index in chunk], ReindexedListener(listener, chunk))

    def _encode(self, network: Network, rows: Sequence[SequenceRequest], *, attentions: bool) -> Work[list[Encoded]]:
        results: dict[int, Encoded] = {}
        for chunk in chunks.for_encoding(self._spec, rows):
            if results:
                yield  # between two chunks, but not after the last one
            sequences = InputBuilder(network).outer([rows[index] for index in chunk])
            seen: list[Tensor] | None = [] if attentions else None
            hidden = network.encode(sequences, seen)
            split = torch.split(hidden.float().cpu(), sequences.layout.lengths)
            results |= {
                index: Encoded(own.numpy(), None if seen is None else _attentions(seen, place, len(own)))
                for place, (index, own) in enumerate(zip(chunk, split, strict=True))
            }
        return [results[index] for index in range(len(rows))]

    def _score(self, network: Network, rows: Sequence[SequenceRequest]) -> Work[list[float]]:
        results: dict[int, float] = {}
        for chunk in chunks.for_encoding(self._spec, rows):
            if results:
                yield
            own = [rows[index] for index in chunk]
            sequences = InputBuilder(network).outer(own)
            hidden = torch.split(network.encode(sequences), sequences.layout.lengths)
            results |= {
                index: _mean_loss(network.scores, states, row)
                for index, row, states in zip(chunk, own, hidden, strict=True)
            }
        return [results[index] for index in range(len(rows))]

    def _decode(self, network: Network, rows: Sequence[SequenceRequest], listener: GenerationListener) -> Work[None]:
        decodings = [row.decoding for row in rows if row.decoding is not None]
        with_encoder = self._spec.has_cross_attention
        prompts = [[row.decoding.start_id] if with_encoder and row.decoding else row.ids.tolist() for row in rows]
        sources = [row.ids.tolist() for row in rows]
        batch = DecodingBatch(decodings, prompts, listener, device=self._device, sources=sources)
        state, scores = self._begin(network, rows, batch)
        steps = choose_step_runner(network, state, rows)
        while True:
            parents = batch.step(scores)
            if not batch.alive:
                return
            yield
            if parents is not None:
                steps.reorder(parents, batch.rows)
            scores = steps.step(batch.tokens)

    def _begin(
        self, network: Network, rows: Sequence[SequenceRequest], batch: DecodingBatch
    ) -> tuple[DecoderState, Tensor]:
        """Return the state after the rows' prompts, and the scores of the next tokens."""
        inputs = InputBuilder(network)
        expected = chunks.expected_tokens(rows, self._spec)
        if self._spec.continues:
            state = network.begin(len(rows), expected=expected)
            sequences = inputs.outer(rows, right=True)
            hidden = network.prompt(state, sequences)
            return state, network.scores(hidden.index_select(0, sequences.layout.last))
        sequences = inputs.outer(rows)
        content = sequences.content
        if self._spec.encoded_size and isinstance(content, EmbeddedTokens):
            encoded = content.hidden
        else:
            encoded = network.encode(sequences)
        state = network.begin(len(rows), expected=expected, encoded=(encoded, sequences))
        state.take_features(inputs.decoder_features(rows))
        return state, network.scores(state.step(batch.tokens, inputs.starts(rows)))

    def _check(self, rows: Sequence[SequenceRequest]) -> None:
        found = [(index, reason) for index, row in enumerate(rows) if (reason := self.refusal(row))]
        if found:
            raise invalid("; ".join(f"row {index}: {reason}" for index, reason in found))

    def _opened(self) -> Network:
        if self._network is None:
            raise unavailable("the engine is closed")
        return self._network


class _GuardedListener:
    """Passes everything on, and marks the listener's own errors, so that they do not count as failures of torch."""

    def __init__(self, listener: GenerationListener) -> None:
        self._listener = listener

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:
        with _listening():
            return self._listener.token(row, token, log_probability, figure)

    def wanted(self, row: int) -> bool:
        with _listening():
            return self._listener.wanted(row)

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        with _listening():
            self._listener.done(row, hypotheses)


class _ListenerError(Exception):
    """Carries a listener's error past `_failures`."""

    def __init__(self, raised: RuntimeError) -> None:
        super().__init__(str(raised))
        self.raised = raised


@contextmanager
def _listening() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _ListenerError(error) from error


@contextmanager
def _failures() -> Iterator[None]:
    """Map torch's errors (out of memory, or in a kernel); other exceptions are bugs of ours and pass unchanged."""
    try:
        yield
    except _ListenerError as error:
        raise error.raised from None
    except (RuntimeError, MemoryError) as error:
        raise internal(f"torch failed: {error}") from error


def _device(device: str, dtype: str) -> torch.device:
    if dtype not in _DTYPES:
        raise unsupported(f"compute type '{dtype}' is not one of {', '.join(_DTYPES)}")
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise _no_device(device) from error
    if where.type not in ("cpu", "cuda"):
        raise _no_device(device)
    if where.type == "cuda":  # one name for each device: it has one compute thread
        where = torch.device("cuda", where.index or 0)
    if where.type == "cuda" and where.index >= torch.cuda.device_count():
        raise unsupported(f"device '{device}' does not exist: torch finds {torch.cuda.device_count()} CUDA devices")
    if dtype == "int8" and where.type == "cuda":
        raise unsupported("compute type 'int8' runs only on the CPU: use bfloat16 or float16 on a GPU")
    return where


def _no_device(device: str) -> SlipwayError:
    return unsupported(f"device '{device}' is not one of cpu, cuda, cuda:N")


def _attentions(layers: Sequence[Tensor], row: int, length: int) -> np.ndarray:
    """Return a row's probabilities, float32 [layers, heads, tokens, tokens]."""
    seen: np.ndarray = torch.stack([layer[row, :, :length, :length] for layer in layers]).float().cpu().numpy()
    return seen


def _mean_loss(scores: Callable[[Tensor], Tensor], states: Tensor, row: SequenceRequest) -> float:
    targets = torch.from_numpy(np.asarray(row.ids[1:], np.int64)).to(states.device)
    if not len(targets):
        return 0.0
    total = 0.0
    batches = torch.split(states[:-1], _SCORED_AT_ONCE), torch.split(targets, _SCORED_AT_ONCE)
    for own, following in zip(*batches, strict=True):
        total += float(torch.nn.functional.cross_entropy(scores(own), following, reduction="sum"))
    return total / len(targets)
