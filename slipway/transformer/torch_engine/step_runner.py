"""Run decoding steps: one by one, or recorded once as a CUDA graph and repeated.

A step of a small model consists of hundreds of kernels of a few microseconds; launching them one by one takes longer
than running them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from slipway.transformer.generation import SequenceRequest
from slipway.transformer.module.decoder_state import DecoderState
from slipway.transformer.module.network import Network
from slipway.transformer.module.static_decoder_state import StaticDecoderState
from slipway.transformer.torch_engine.chunks import hypotheses

_WARM_UP = 2  # libraries allocate and choose kernels in their first calls, which must not be recorded
_WORTH_RECORDING = 8  # tokens: recording costs about as much as three steps


class StepRunner(Protocol):
    """A generation in progress."""

    def reorder(self, parents: Tensor, rows: Tensor) -> None:
        """Continue the hypotheses `parents`, int64 [n], which belong to `rows`."""

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token per hypothesis and return the scores of the next, float32 [n, vocabulary]."""


class DynamicStepRunner:
    """Runs steps one by one: caches grow, finished rows leave."""

    def __init__(self, network: Network, state: DecoderState) -> None:
        self._network = network
        self._state = state

    def reorder(self, parents: Tensor, rows: Tensor) -> None:
        """Continue the hypotheses `parents`, which belong to `rows`."""
        self._state.reorder(parents, rows)

    def step(self, tokens: Tensor) -> Tensor:
        """Return the scores of what follows."""
        return self._network.step(self._state, tokens)


class StaticStepRunner:
    """Runs steps of a fixed size, one by one or as a recorded graph; finished rows are still computed."""

    def __init__(self, network: Network, state: StaticDecoderState) -> None:
        self._network = network
        self._state = state
        self._slots = torch.arange(len(state.tokens), device=state.tokens.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def reorder(self, parents: Tensor, rows: Tensor) -> None:  # noqa: ARG002
        """Continue with some of the rows."""
        self._slots = self._slots.index_select(0, parents)

    def step(self, tokens: Tensor) -> Tensor:
        """Return the scores of what follows."""
        self._state.tokens.index_copy_(0, self._slots, tokens)
        if self._graph is None:
            scores = self._run()
        else:
            self._graph.replay()
            scores = self._scores
        return scores.index_select(0, self._slots)  # a copy: the next replay overwrites `scores`

    def record(self) -> None:
        """Record a step as a CUDA graph, which all later steps repeat."""
        stream: Callable[[torch.device], torch.cuda.Stream] = torch.cuda.Stream
        beside = stream(self._slots.device)
        beside.wait_stream(torch.cuda.current_stream(self._slots.device))
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                self._run()
                self._state.rewind(1)
        torch.cuda.current_stream(self._slots.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another model may allocate at the same time
            self._scores = self._run()  # recorded, not run
        self._graph = graph

    def _run(self) -> Tensor:
        return self._network.scores(self._state.step())


def choose_step_runner(network: Network, state: DecoderState, rows: Sequence[SequenceRequest]) -> StepRunner:
    """Return the faster runner for these rows. Experts cannot be recorded: the computation depends on the gate."""
    tokens = max(1 if row.decoding is None else row.decoding.max_tokens for row in rows)
    recordable = (
        network.like.device.type == "cuda"
        and network.spec.output_stack.experts is None
        and tokens >= _WORTH_RECORDING
        and all(hypotheses(row) == 1 for row in rows)
    )
    if not recordable:
        return DynamicStepRunner(network, state)
    runner = StaticStepRunner(network, StaticDecoderState(state, state.cache.length + tokens))
    runner.record()
    return runner
