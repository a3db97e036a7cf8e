"""How families store several projections as one array, and how each is cut out. Knows shapes, and no names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slipway.checkpoints.huggingface.table import ArrayTransform
from slipway.transformer.spec import Stack
from slipway.transformer.weights import Shape

Cut = Callable[[Stack], ArrayTransform]

PLUS_ONE = ArrayTransform(lambda shape: shape, lambda array: array.astype(np.float32) + np.float32(1))  # Gemma's norms


def half(index: int) -> Cut:
    """Return the cut that takes the first or second half of [..., 2 * F, D]: gate and other factor in one product."""

    def shape(stored: Shape) -> Shape:
        return (*stored[:-2], stored[-2] // 2, stored[-1]) if len(stored) > 1 else stored

    def apply(array: np.ndarray) -> np.ndarray:
        size = array.shape[-2] // 2
        return array[..., index * size : (index + 1) * size, :]

    return lambda _: ArrayTransform(shape, apply)


def all_heads(part: str) -> Cut:
    """Return the cut that takes `part` out of [A + 2 * K, ...]: all queries, then keys, then values (Phi-3)."""

    def cut(stack: Stack) -> ArrayTransform:
        queries, keys = stack.attention, stack.key_value
        begin = {"query": 0, "key": queries, "value": queries + keys}[part]
        size = queries if part == "query" else keys
        whole = queries + 2 * keys

        def shape(stored: Shape) -> Shape:
            return (size, *stored[1:]) if stored[:1] == (whole,) else stored

        return ArrayTransform(shape, lambda array: array[begin : begin + size])

    return cut


def each_head(part: str) -> Cut:
    """Return the cut that takes `part` out of [A + 2 * K, ...], in which every head of keys is stored with its own
    queries before it and its values behind it (GPT-NeoX, BLOOM, Falcon)."""

    def cut(stack: Stack) -> ArrayTransform:
        groups = stack.key_value // stack.head_size
        queries = stack.heads // groups
        place = {"query": slice(queries), "key": slice(queries, queries + 1), "value": slice(queries + 1, None)}[part]
        size = stack.attention if part == "query" else stack.key_value
        whole = stack.attention + 2 * stack.key_value

        def shape(stored: Shape) -> Shape:
            return (size, *stored[1:]) if stored[:1] == (whole,) else stored

        def apply(array: np.ndarray) -> np.ndarray:
            heads = array.reshape(groups, queries + 2, stack.head_size, *array.shape[1:])
            return heads[:, place].reshape(size, *array.shape[1:])

        return ArrayTransform(shape, apply)

    return cut
