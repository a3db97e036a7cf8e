"""The processes of one training, as torchrun starts them, and the device of each. Imports torch at once.

Alone, a process needs no communication, and none is set up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from slipway.errors import invalid, unavailable
from slipway.train.loader import Share


@dataclass(frozen=True, slots=True)
class Processes:
    """One process among those of the training."""

    share: Share
    device: torch.device

    @property
    def many(self) -> bool:
        """Whether there are others."""
        return self.share.processes > 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.share.rank == 0

    def sums(self, values: list[float]) -> list[float]:
        """Return the sums of `values` over all processes; every process has to call this."""
        if not self.many:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(each) for each in tensor.tolist()]

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.sums([0.0])


@contextmanager
def joined_processes(gpus: int) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did, and leave them at the end of the block.

    `gpus` is `--worker_gpu`: 0 trains on the CPU, 1 on a GPU if there is one.
    """
    if gpus not in (0, 1):
        raise invalid(
            f"--worker_gpu={gpus}: each process uses one GPU; start {gpus} with torchrun --nproc_per_node={gpus}"
        )
    count, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    device = torch.device("cpu")
    if gpus and torch.cuda.is_available():
        device = torch.device("cuda", _number("LOCAL_RANK", 0) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(Share(), device)
        return
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise unavailable(f"the {count} processes of torchrun cannot reach each other: {error}") from None
    try:
        yield Processes(Share(rank, count), device)
    finally:
        distributed.destroy_process_group()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdigit():
        raise invalid(f"the environment variable {name} is '{text}', expected a whole number")
    return int(text) if text else default
