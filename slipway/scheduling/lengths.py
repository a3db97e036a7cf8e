"""What the batcher must know of a request that may be padded: its sizes, and which others it may be merged with.

Pure. Padding must never turn a request that fails alone into one that succeeds, nor change what it means: sizes that
are equal, or in order, must stay so when each is padded to the longest of its batch, and sizes that broadcast (1
beside others) or are empty must not be padded at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from slipway.core.padding import PaddingRule
from slipway.core.pending import Pending
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Lengths:
    """A request's `sizes` in the input that measures, as padded for a batch of its own, their product, and the
    `key` that its batch-mates share."""

    key: object
    sizes: tuple[int, ...]
    tokens: int  # of one row


def length_key(signature: ModelSignature, rule: PaddingRule) -> Callable[[Pending], Lengths]:
    """Return what measures a request: may it be merged with another, the `key` of both is equal."""
    optional = tuple(name for name, spec in signature.inputs.items() if spec.optional)

    def measure(pending: Pending) -> Lengths:
        inputs = pending.request.inputs
        sizes = rule.rounded(rule.sizes(inputs), inputs)
        form = padding_form(_variable_sizes(inputs, rule))
        key = (form, tuple([name in inputs for name in optional])) if optional else form
        return Lengths(key, sizes, prod(sizes))

    return measure


def padding_form(sizes: tuple[int, ...]) -> object:
    """Return what must be equal between the variable sizes of requests that are padded together: their order, and the
    sizes themselves where padding would change what they mean."""
    distinct = set(sizes)
    if len(distinct) < 2 and 0 not in distinct:  # the usual case: all inputs are equally long
        return None
    if 0 in distinct or 1 in distinct:
        return sizes
    ranks = {size: rank for rank, size in enumerate(sorted(distinct))}
    return tuple([-ranks[size] for size in sizes])  # one is negative, so never equal to anybody's sizes


def _variable_sizes(inputs: Mapping[str, Tensor], rule: PaddingRule) -> tuple[int, ...]:
    found = [(inputs[padded.name].shape, padded.axes) for padded in rule.inputs if padded.name in inputs]
    return tuple([shape[axis] for shape, axes in found for axis in axes])
