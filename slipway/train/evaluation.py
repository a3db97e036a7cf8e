"""How good a network is on the dev split: teacher-forced figures as tensor2tensor's. Imports torch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch

from slipway.train.bleu import BleuSums
from slipway.train.loader import Batch
from slipway.train.network.network import TrainingNetwork
from slipway.train.processes import Processes


def evaluate(
    network: TrainingNetwork, batches: Callable[[], Iterator[Batch]], limit: int, processes: Processes
) -> dict[str, float]:
    """Return figures over at most `limit` dev batches; every process calls this with its rows of the same batches.

    `loss` is the mean negative log probability of a target token, in nats, without smoothing; `accuracy` the share of
    tokens that are the most probable ones given the right tokens before them, `accuracy_per_sequence` that of rows
    where all are; `approx_bleu_score` (0 to 1) compares these most probable tokens with the targets, so it is higher
    than the BLEU of translations.
    """
    network.eval()
    bleu = BleuSums()
    nats = right = tokens = whole = rows = 0.0
    for batch in islice(batches(), limit):
        if not batch.targets.any():  # another process has its rows
            continue
        ids = (torch.from_numpy(each).to(processes.device) for each in (batch.inputs, batch.targets))
        result = network.evaluate(*ids)
        nats += result.nats
        lengths = np.count_nonzero(batch.targets, axis=1)
        best = result.best.cpu().numpy()
        for row, given in zip(batch.targets, np.split(best, np.cumsum(lengths)[:-1]), strict=True):
            target = row[: len(given)]
            same = int((target == given).sum())
            bleu.add(target.tolist(), given.tolist())
            right, tokens, rows = right + same, tokens + len(target), rows + 1
            whole += same == len(target)
    sums = processes.sums([nats, right, tokens, whole, rows, *map(float, bleu.values())])
    nats, right, tokens, whole, rows = sums[:5]
    if not rows:
        return {}
    return {
        "loss": nats / tokens,
        "accuracy": right / tokens,
        "accuracy_per_sequence": whole / rows,
        "approx_bleu_score": BleuSums.of(sums[5:]).score(),
    }
