"""The running batch against static batches of eight, on the same engine, with the shape of Qwen2.5-0.5B.

The weights are random, because their values do not affect the figures. Requests arrive at the same random times in both
turns; a static batch takes up to eight of those that wait whenever the one before it has ended.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from threading import Event, Lock, Thread
from time import perf_counter, sleep
from typing import Final

import numpy as np

from benchmarks.report import Row
from slipway.transformer.generation import Decoding, Hypothesis, SequenceRequest, TransformerEngine
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.spec import Activation, Norm, Positions, Rotary, Stack, Transformer, standard_scale
from slipway.transformer.weights import Array, Weights, expected_shapes

ROTARY: Final = Rotary(64, base=1e6)
SPEC: Final = Transformer(
    decoder=Stack(
        24, 896, 14, 64, 4864, 151_936, norm=Norm.RMS, norm_epsilon=1e-6, pre_norm=True, final_norm=True,
        activation=Activation.SILU, gated=True, attention_bias=True, output_bias=False, feed_forward_bias=False,
        positions=Positions.ROTARY, rotary=ROTARY, key_value_heads=2, context=32_768,
        attention_scale=standard_scale(64),
    )
)  # fmt: skip
COMPUTE_TYPE: Final = "int8"
REQUESTS: Final = 32
PROMPTS: Final = (16, 512)
NEW_TOKENS: Final = (8, 128)
ARRIVING_S: Final = 8.0  # the time in which the requests arrive
STATIC: Final = 8
SHARED_TOKENS: Final = 512
NO_END: Final = 1 << 30


def continuous() -> list[Row]:
    """Measure tokens/s, pauses between tokens, and the time to the first token with and without a shared beginning."""
    weights = random_weights(SPEC)
    arrivals = list(arriving(SPEC, REQUESTS))
    with _opened(weights, RunningOptions(places=0)) as engine:
        static = _static(engine, arrivals)
    with _opened(weights, RunningOptions(most_drafted=0)) as engine:  # random weights repeat themselves: easy to guess
        speed, pauses, median = _running(engine, arrivals)
        cold, warm = _first_tokens(engine)
    return [
        Row(f"{REQUESTS} requests, {COMPUTE_TYPE}: against static batches of {STATIC}", speed, "tok/s", static, 2.0),
        Row("longest pause between two tokens, against the median", pauses * 1e3, "ms", median * 1e3, at_most=3.0),
        Row("first token after a shared beginning of 512 tokens", warm * 1e3, "ms", cold * 1e3, at_most=0.25),
    ]


def random_weights(spec: Transformer) -> Weights:
    """Return weights of an architecture: a few random numbers, repeated."""
    numbers = np.random.default_rng(0).normal(0, 0.02, 1_000_003).astype(np.float32)

    def read(shape: tuple[int, ...]) -> np.ndarray:
        return np.resize(numbers, shape)

    shapes = expected_shapes(spec)
    return Weights({name: Array(shape, lambda shape=shape: read(shape)) for name, shape in shapes.items()})  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request and the time of its arrival, in seconds."""

    at: float
    row: SequenceRequest


def arriving(spec: Transformer, count: int) -> Iterator[Arrival]:
    """Yield requests of random lengths at random times."""
    random = Random(1)
    vocabulary = spec.output_stack.vocabulary
    for at in sorted(random.uniform(0, ARRIVING_S) for _ in range(count)):
        ids = np.array([random.randrange(vocabulary) for _ in range(random.randint(*PROMPTS))])
        yield Arrival(at, SequenceRequest(ids, Decoding(random.randint(*NEW_TOKENS), end_id=NO_END)))


@dataclass
class Timed:
    """Notes when tokens come; `ended` is set with the last of `count` rows. A `generation.StartedListener`."""

    count: int
    tokens: dict[int, list[float]] = field(default_factory=dict)
    ended: Event = field(default_factory=Event)
    error: Exception | None = None
    _lock: Lock = field(default_factory=Lock)

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Note the time of a token."""
        self.tokens.setdefault(row, []).append(perf_counter())
        return False

    def wanted(self, row: int) -> bool:  # noqa: ARG002
        """Let the row continue."""
        return True

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:  # noqa: ARG002
        """Count a finished row."""
        with self._lock:
            self.count -= 1
        if not self.count:
            self.ended.set()

    def failed(self, row: int, error: Exception) -> None:  # noqa: ARG002
        """End the measurement, which then fails."""
        self.error = error
        self.ended.set()

    def wait(self) -> None:
        """Wait for the end; raise the error of a row that failed."""
        self.ended.wait()
        if self.error is not None:
            raise self.error

    @property
    def pauses(self) -> list[float]:
        """The times between two tokens of a row."""
        return [later - earlier for own in self.tokens.values() for earlier, later in pairwise(own)]


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Passes the reports of one request on under its number."""

    timed: Timed
    number: int

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        return self.timed.token(self.number, token, log_probability, figure)

    def wanted(self, row: int) -> bool:  # noqa: ARG002
        return True

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:  # noqa: ARG002
        self.timed.done(self.number, hypotheses)

    def failed(self, row: int, error: Exception) -> None:  # noqa: ARG002
        self.timed.failed(self.number, error)


def _generated(arrivals: Sequence[Arrival]) -> int:
    return sum(each.row.decoding.max_tokens for each in arrivals if each.row.decoding is not None)


@contextmanager
def _opened(weights: Mapping[str, np.ndarray], running: RunningOptions) -> Iterator[TransformerEngine]:
    from slipway.cores import cpu_limit
    from slipway.transformer.torch_engine.engine import TorchEngine

    engine = TorchEngine.open(SPEC, weights, dtype=COMPUTE_TYPE, threads=cpu_limit(), running=running)
    warm = SequenceRequest(np.arange(100, 140), Decoding(4, end_id=NO_END))
    engine.generate([warm] * STATIC, Timed(STATIC))
    yield engine
    engine.close()


def _static(engine: TransformerEngine, arrivals: Sequence[Arrival]) -> float:
    """Return tokens/s with static batches."""
    left = list(arrivals)
    start = perf_counter()
    while left:
        sleep(max(0.0, left[0].at - (perf_counter() - start)))
        now = perf_counter() - start
        batch = [each for each in left if each.at <= now][:STATIC]
        engine.generate([each.row for each in batch], Timed(len(batch)))
        del left[: len(batch)]
    duration = perf_counter() - start - arrivals[0].at
    return _generated(arrivals) / duration


def _running(engine: TransformerEngine, arrivals: Sequence[Arrival]) -> tuple[float, float, float]:
    """Return tokens/s of the running batch, and the longest and the median pause between two tokens of a row, in s."""
    timed = Timed(len(arrivals))
    start = perf_counter()

    def arrive() -> None:
        for number, each in enumerate(arrivals):
            sleep(max(0.0, each.at - (perf_counter() - start)))
            engine.start([each.row], _Numbered(timed, number))

    thread = Thread(target=arrive)
    thread.start()
    timed.wait()
    duration = perf_counter() - start - arrivals[0].at
    thread.join()
    pauses = timed.pauses
    return _generated(arrivals) / duration, max(pauses), statistics.median(pauses)


def _first_tokens(engine: TransformerEngine) -> tuple[float, float]:
    """Return the time to the first token of a prompt whose beginning nobody has computed, and of one that shares its
    first 512 tokens with it, in s."""
    shared = np.arange(1000, 1000 + SHARED_TOKENS)
    times = []
    for ending in range(2):
        ids = np.concatenate([shared, np.arange(16) + 100 * ending])
        begin, timed = perf_counter(), Timed(1)
        engine.generate([SequenceRequest(ids, replace(Decoding(1), end_id=NO_END))], timed)
        times.append(timed.tokens[0][0] - begin)
    return times[0], times[1]
