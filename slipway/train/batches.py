"""Decides which pairs share a batch: buckets by length, as many rows as fit the token count. Numbers only, no I/O.

tensor2tensor's rules (`utils/data_reader.py`): the length of a pair is that of its longer side; a bucket's batch has
`batch_size` tokens, padding included. One difference: rows that are left over in a bucket join the next longer one, so
that only the last batch is short; tensor2tensor keeps them for the next epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slipway.checkpoints.tensor2tensor.hparams import HParams


@dataclass(frozen=True, slots=True)
class BatchingRule:
    """How pairs are selected and batched. Lengths and `tokens` are in subtokens, the end token included."""

    tokens: int  # per batch; rows if `fixed`
    fixed: bool
    shortest: int
    longest: int
    cut_inputs: int  # longer inputs are cut; 0: not
    cut_targets: int
    boundaries: tuple[int, ...]  # the longest pair of each bucket, ascending

    @classmethod
    def of(cls, hparams: HParams, processes: int = 1) -> BatchingRule:
        """Return the rule for batches that `processes` processes share: each of them gets `batch_size` tokens."""
        longest = hparams.max_length or hparams.batch_size
        return cls(
            tokens=hparams.batch_size * processes,
            fixed=hparams.use_fixed_batch_size,
            shortest=hparams.min_length,
            longest=longest,
            cut_inputs=hparams.max_input_seq_length,
            cut_targets=hparams.max_target_seq_length,
            boundaries=bucket_boundaries(hparams.min_length_bucket, hparams.length_bucket_step, longest),
        )

    def rows(self, length: int) -> int:
        """Return the number of rows of a batch whose longest sequence has `length` tokens."""
        return self.tokens if self.fixed else max(1, self.tokens // length)


def bucket_boundaries(shortest: int, step: float, longest: int) -> tuple[int, ...]:
    """Return the longest lengths of the buckets: from `shortest`, growing by the factor `step`, up to `longest`."""
    boundaries, length = [], max(1, shortest)
    while length < longest:
        boundaries.append(length)
        length = max(length + 1, int(length * step))
    return (*boundaries, longest)


def cut_batches(lengths: np.ndarray, rule: BatchingRule, source: np.random.Generator) -> list[np.ndarray]:
    """Return the rows of each batch, as indices of `lengths` (int [pairs]): rows and batches in random order.

    Every pair is in exactly one batch; pairs longer than the last bucket (evaluation) have a bucket per length.
    """
    order = source.permutation(len(lengths))
    boundaries = [*rule.boundaries, *np.unique(lengths[lengths > rule.longest]).tolist()]
    buckets = np.searchsorted(boundaries, lengths[order])
    order = order[np.argsort(buckets, kind="stable")]
    ends = np.searchsorted(np.sort(buckets), np.arange(len(boundaries)), side="right")
    batches: list[np.ndarray] = []
    start = 0
    for boundary, end in zip(boundaries, ends.tolist(), strict=True):
        rows = rule.rows(boundary)
        while end - start >= rows:
            batches.append(order[start : start + rows])
            start += rows
    if start < len(order):
        batches.append(order[start:])
    return [batches[index] for index in source.permutation(len(batches))]
