"""The lengths of requests that may be padded, and the merge key that decides which may be padded together.

Pure. Padding must not turn a request that fails alone into one that succeeds, and must not change its meaning: sizes
that are equal, or in a certain order, must stay so when each is padded to the longest in its batch, and sizes that
broadcast (1 next to other sizes) or are 0 must not be padded at all.
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
    """A request's `sizes` in the input that gives its length, as padded in a batch of one, their product `tokens`, and
    the `key` that must be equal for all requests of a batch."""

    key: object
    sizes: tuple[int, ...]
    tokens: int  # of one row


def length_key(signature: ModelSignature, rule: PaddingRule) -> Callable[[Pending], Lengths]:
    """Return the function that computes a request's lengths; requests may be merged only if their `key` is equal."""
    optional = tuple(name for name, spec in signature.inputs.items() if spec.optional)

    def measure(pending: Pending) -> Lengths:
        inputs = pending.request.inputs
        sizes = rule.rounded(rule.sizes(inputs), inputs)
        form = padding_form(_variable_sizes(inputs, rule))
        key = (form, tuple([name in inputs for name in optional])) if optional else form
        return Lengths(key, sizes, prod(sizes))

    return measure


def padding_form(sizes: tuple[int, ...]) -> object:
    """Return the value that must be equal for requests that are padded together: the order of their variable sizes, or
    the sizes themselves if padding would change their meaning."""
    distinct = set(sizes)
    if len(distinct) < 2 and 0 not in distinct:  # the usual case: all inputs are equally long
        return None
    if 0 in distinct or 1 in distinct:
        return sizes
    ranks = {size: rank for rank, size in enumerate(sorted(distinct))}
    return tuple([-ranks[size] for size in sizes])  # one is negative, so the result never equals a tuple of sizes


def _variable_sizes(inputs: Mapping[str, Tensor], rule: PaddingRule) -> tuple[int, ...]:
    found = [(inputs[padded.name].shape, padded.axes) for padded in rule.inputs if padded.name in inputs]
    return tuple([shape[axis] for shape, axes in found for axis in axes])
