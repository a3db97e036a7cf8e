"""The running batch of a torch engine: which rows it takes, and its opening when the first of them comes."""

from __future__ import annotations

from threading import Lock

import torch

from slipway.transformer.generation import Search, SequenceRequest
from slipway.transformer.module.network import Network
from slipway.transformer.paged.options import PAGE_SIZE, RunningOptions
from slipway.transformer.paged.running_batch import RunningBatch, StartSteps
from slipway.transformer.paged.running_row import most_tokens
from slipway.transformer.paged.scheduler import too_long
from slipway.transformer.paged.stats import RunningCounters, RunningStats
from slipway.transformer.torch_engine.paged_network import (
    TorchPagedNetwork,
    only_tokens,
    page_bytes,
    shared_length,
    why_not_paged,
)


class TorchRunning:
    """The running batch of a network, which does not belong to it: an engine that is closed releases the weights."""

    def __init__(self, network: Network, options: RunningOptions, start_steps: StartSteps) -> None:
        self._options = options
        self._start_steps = start_steps
        self._possible = options.places > 0 and network.spec.decoder is not None and not why_not_paged(network.spec)
        self._pages = 0
        if self._possible:
            own = page_bytes(network.spec, item=network.like.element_size(), page_size=PAGE_SIZE)
            self._pages = options.pages(own, _free_memory(network.like.device))
        self._lock = Lock()
        self._batch: RunningBatch | None = None

    def takes(self, row: SequenceRequest) -> bool:
        """Return whether a row can join: it has one hypothesis, and consists of tokens."""
        sampled = row.decoding is not None and row.decoding.search is Search.SAMPLE
        return self._possible and sampled and only_tokens(row)

    @property
    def room(self) -> int:
        """The number of tokens in all pages."""
        return self._pages * PAGE_SIZE

    def refusal(self, row: SequenceRequest) -> str:
        """Return why a row that can join does not fit, "" if it does."""
        return too_long(most_tokens(row), self.room)

    def batch(self, network: Network) -> RunningBatch:
        """Return the running batch; its pages are reserved for the first row."""
        with self._lock:
            if self._batch is None:
                paged = TorchPagedNetwork(network, page_count=self._pages, page_size=PAGE_SIZE)
                self._batch = RunningBatch(
                    paged,
                    self._start_steps,
                    places=self._options.places,
                    step_tokens=self._options.step_tokens,
                    shared_length=shared_length(network.spec),
                    most_drafted=self._options.most_drafted,
                )
            return self._batch

    def stats(self) -> RunningStats | None:
        """Return the figures so far, None if there can be no running batch."""
        if not self._possible:
            return None
        if self._batch is not None:
            return self._batch.stats()
        idle = RunningCounters()
        return idle.snapshot(running=0, waiting=0, pages_used=0, pages_total=self._pages, page_size=PAGE_SIZE)

    def close(self) -> None:
        """Let go of the batch, which ends when its rows do."""
        with self._lock:
            self._batch = None


def _free_memory(device: torch.device) -> int | None:
    """Return the free memory of a GPU in bytes, None for the CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
