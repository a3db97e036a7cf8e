"""The loop of a training: batches, updates, checkpoints, evaluations. Imports torch at once.

Randomness within a step depends on the seed, the step and the process alone, so a training that stopped and resumed
computes on a CPU, bit for bit, what an uninterrupted one does. The caller decides when to stop; this module handles no
signals and prints nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.errors import SlipwayError, internal
from slipway.train.loader import Batch, BatchStream
from slipway.train.network.network import TrainingNetwork
from slipway.train.optimisers import accumulated_batches, make_optimiser, set_learning_rate
from slipway.train.processes import Processes
from slipway.train.reports import StepReport, TrainingReporter
from slipway.train.saving import CheckpointDirectory, Progress, broken_parameters
from slipway.train.schedules import learning_rate

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """When a training ends, and what happens on the way. Steps are updates."""

    steps: int
    save_every: int
    seed: int
    evaluate: Callable[[int], None] | None = None  # called with the step, after each checkpoint, in every process


class Trainer:
    """One training of one network: built, then `run`."""

    def __init__(
        self,
        network: TrainingNetwork,
        stream: BatchStream,
        directory: CheckpointDirectory,
        plan: TrainingPlan,
        processes: Processes,
        reporter: TrainingReporter,
    ) -> None:
        self.network = network
        self.progress = Progress()
        self._hparams: HParams = network.hparams
        self._stream = stream
        self._directory = directory
        self._plan = plan
        self._processes = processes
        self._reporter = reporter
        self._rate = learning_rate(network.hparams, plan.steps)
        self._optimiser = make_optimiser(network.hparams, dict(network.weights.items()))
        self._accumulated = accumulated_batches(network.hparams)

    def resume(self) -> bool:
        """Continue from the newest checkpoint of the directory; return whether there is one."""
        if self._directory.newest() is None:
            return False
        self._directory.restore_weights(self.network)
        self.progress = self._directory.restore_state(self._optimiser, self._plan.seed)
        return True

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Train until the last step or until `stopped` returns true, save, and return whether the last step is done.

        Raise INTERNAL if the loss becomes infinite or NaN, UNAVAILABLE if a checkpoint cannot be written; the last good
        checkpoint stays.
        """
        model = self._wrapped()
        batches = self._stream.batches(self.progress.position)
        last, before = self._plan.steps, time.monotonic()
        saved = self.progress.step
        self.network.train()
        while self.progress.step < last:
            report, stop = self._update(model, list(islice(batches, self._accumulated)), stopped)
            now = time.monotonic()
            self._reporter.trained(replace(report, seconds=now - before))
            before = now
            if stop or self.progress.step == last or self.progress.step % self._plan.save_every == 0:
                self._save()
                saved = self.progress.step
                if not stop and self._plan.evaluate is not None:
                    self._plan.evaluate(saved)
                    self.network.train()
                    before = time.monotonic()
            if stop:
                return self.progress.step >= last
        if saved != self.progress.step:
            self._save()
        return True

    def _update(
        self, model: torch.nn.Module, batches: list[Batch], stopped: Callable[[], bool]
    ) -> tuple[StepReport, bool]:
        """Make one update; return its report and whether any process was asked to stop."""
        step = self.progress.step + 1
        rank, processes = self._processes.share.rank, self._processes.share.processes
        torch.manual_seed(int(np.random.SeedSequence([self._plan.seed, step, rank]).generate_state(1)[0]))
        self._optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for number, batch in enumerate(batches, 1):
            with self._synchronised(model, last=number == len(batches)), self._precision():
                part = model(*self._ids(batch), batch.tokens / processes)
                (part / len(batches)).backward()
            loss += part.item() / len(batches) / processes
        tokens = sum(batch.read_tokens for batch in batches)
        loss, tokens_of_all, stops = self._processes.sums([loss, tokens, float(stopped())])
        if not math.isfinite(loss):
            raise self._failure(f"the loss is {loss} at step {step}")
        if self._hparams.clip_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._hparams.clip_grad_norm)
        rate = self._rate(step)
        set_learning_rate(self._optimiser, rate)
        self._optimiser.step()
        self.progress = Progress(step, batches[-1].following)
        return StepReport(step, self._plan.steps, loss, rate, int(tokens_of_all), 0.0), stops > 0

    def _save(self) -> None:
        if broken := broken_parameters(self.network):
            names = ", ".join(broken[:_SHOWN])
            raise self._failure(f"after step {self.progress.step}, {len(broken)} arrays hold NaN or infinity ({names})")
        if self._processes.first:
            self._directory.save(self.network, self._optimiser, self.progress, self._plan.seed)
            self._reporter.saved(self.progress.step)
        self._processes.wait()

    def _failure(self, text: str) -> SlipwayError:
        newest = self._directory.newest()
        kept = "no checkpoint was saved" if newest is None else f"the last good checkpoint is that of step {newest}"
        return internal(
            f"{text}: training stopped, {kept}. A lower learning rate, more warm-up steps or clip_grad_norm may help"
        )

    def _wrapped(self) -> torch.nn.Module:
        return DistributedDataParallel(self.network) if self._processes.many else self.network

    def _synchronised(self, model: torch.nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Return a block in which gradients are summed over the processes only if it is the `last` batch's."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()

    def _precision(self) -> AbstractContextManager[None]:
        """Return the block of a forward pass: bfloat16 products if they are asked for, and on a GPU that has them."""
        device = self._processes.device.type
        on_gpu = device == "cuda" and torch.cuda.is_bf16_supported()
        if on_gpu or self._hparams.activation_dtype == "bfloat16":
            return torch.autocast(device, torch.bfloat16)
        return nullcontext()

    def _ids(self, batch: Batch) -> Iterator[torch.Tensor]:
        device = self._processes.device
        return (torch.from_numpy(ids).to(device, non_blocking=True) for ids in (batch.inputs, batch.targets))
