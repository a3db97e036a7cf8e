"""The shapes of the batches that a model's requests are likely to form, most likely first.

Pure. A shape is a number of rows and the length that all variable dimensions share, as in text models; a model whose
inputs vary in any other way has no such list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from slipway.core.signature import ModelSignature


@dataclass(frozen=True, slots=True)
class BatchShape:
    """A batch of `rows` rows that are all `length` long."""

    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """The tokens of the batch."""
        return self.rows * self.length


def likely_shapes(signature: ModelSignature, most_tokens: int) -> Iterator[BatchShape]:
    """Yield the shapes of at most `most_tokens` tokens: single rows by length, then batches by number of tokens.

    Every request can have any of the lengths, while batches depend on the load. Only a model with a padding rule merges
    requests of different lengths, so only it gets batches.
    """
    inputs = signature.inputs.values()
    if not have_one_length((spec.dims, spec.ragged or spec.reshape is not None) for spec in inputs):
        return
    rule = signature.padding
    step = rule.step if rule else 1
    lengths = range(step, most_tokens + 1, step)
    yield from (BatchShape(1, length) for length in lengths)
    if rule is None:
        return
    for tokens in range(2 * step, min(most_tokens, rule.max_tokens or most_tokens) + 1, step):
        for rows in range(2, min(signature.max_batch_size, tokens // step) + 1):
            if tokens % (rows * step) == 0:
                yield BatchShape(rows, tokens // rows)


def have_one_length(inputs: Iterable[tuple[Sequence[int], bool]]) -> bool:
    """Return whether inputs vary, each in one dimension at most: these are then taken to be equally long. Each is given
    by its dims, and whether it is ragged or has another shape inside the model."""
    variable = []
    for dims, is_special in inputs:
        if is_special:
            return False
        variable.append(list(dims).count(-1))
    return max(variable, default=0) == 1
