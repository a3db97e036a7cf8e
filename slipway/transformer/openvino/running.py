"""The running batch of an OpenVINO model: which rows it takes, and its opening when the first of them comes."""

from __future__ import annotations

from threading import Lock

from slipway.transformer.openvino.network import OpenVinoModel
from slipway.transformer.paged.options import RunningOptions
from slipway.transformer.paged.running_batch import RunningBatch, StartSteps
from slipway.transformer.paged.stats import RunningCounters, RunningStats

PLACES = RunningOptions().places  # where the settings forbid rows to join: those that come together still need places


class OpenVinoRunning:
    """The running batch of a model, which does not belong to it."""

    def __init__(
        self, model: OpenVinoModel, options: RunningOptions, start_steps: StartSteps, shared_length: int | None
    ) -> None:
        self._options = options
        self._start_steps = start_steps
        self._shared_length = shared_length
        self._page_size = model.page_size
        self._pages = options.pages(model.page_bytes)
        self._lock = Lock()
        self._batch: RunningBatch | None = None

    @property
    def joinable(self) -> bool:
        """Whether rows of different callers run together."""
        return self._options.places > 0

    @property
    def room(self) -> int:
        """The number of tokens in all pages."""
        return self._pages * self._page_size

    def batch(self, model: OpenVinoModel) -> RunningBatch:
        """Return the running batch; its pages are reserved for the first row."""
        with self._lock:
            if self._batch is None:
                self._batch = RunningBatch(
                    model.network(self._pages),
                    self._start_steps,
                    places=self._options.places or PLACES,
                    step_tokens=self._options.step_tokens,
                    shared_length=self._shared_length,
                    most_drafted=self._options.most_drafted,
                )
            return self._batch

    def stats(self) -> RunningStats:
        """Return the figures so far."""
        batch = self._batch
        if batch is not None:
            return batch.stats()
        idle = RunningCounters()
        return idle.snapshot(running=0, waiting=0, pages_used=0, pages_total=self._pages, page_size=self._page_size)

    def close(self) -> None:
        """Let go of the batch, which ends when its rows do."""
        with self._lock:
            self._batch = None
