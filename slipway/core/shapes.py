"""The shapes of the batches that a model's requests are likely to form, most likely first.

Pure. A shape is a number of rows and the length that all variable dimensions share, as in text models; a model whose
inputs vary in any other way has no such list.
"""

from __future__ import annotations

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


def likely_shapes(signature: ModelSignature, most_tokens: int) -> list[BatchShape]:
    """Return the shapes of at most `most_tokens` tokens: single rows by length, then batches by number of tokens.

    Every request can have any of the lengths, while batches depend on the load. Only a model with a padding rule merges
    requests of different lengths, so only it gets batches.
    """
    if not _has_one_length(signature):
        return []
    rule = signature.padding
    step = rule.step if rule else 1
    lengths = range(step, most_tokens + 1, step)
    single = [BatchShape(1, length) for length in lengths]
    if rule is None:
        return single
    most, rows_limit = min(most_tokens, rule.max_tokens or most_tokens), signature.max_batch_size
    batches = [BatchShape(rows, length) for length in lengths for rows in range(2, min(rows_limit, most // length) + 1)]
    return [*single, *sorted(batches, key=lambda shape: (shape.tokens, shape.rows))]


def _has_one_length(signature: ModelSignature) -> bool:
    """Return whether inputs vary, each in one dimension at most: these are then taken to be equally long."""
    inputs = signature.inputs.values()
    variable = [spec.dims.count(-1) for spec in inputs]
    plain = not any(spec.ragged or spec.reshape is not None for spec in inputs)
    return plain and max(variable, default=0) == 1
