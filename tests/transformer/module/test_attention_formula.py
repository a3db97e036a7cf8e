"""Query heads that share keys and values attend as if each had a copy, whatever is added to the scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from slipway.transformer.module.attention_formula import causal_formula_of, formula_of, visible_formula_of
from slipway.transformer.spec import Positions, Stack

ROWS, HEADS, KEYS, SIZE = 2, 6, 5, 4
STACK = Stack(1, 24, HEADS, SIZE, 8, 10, positions=Positions.NONE, attention_scale=0.7)
BIASES = {
    "none": None,
    "keys": (1, 1, 1, KEYS),
    "rows": (ROWS, 1, 1, KEYS),
    "heads": (1, HEADS, 1, KEYS),
    "queries": (1, 1, -1, KEYS),
    "all": (ROWS, HEADS, -1, KEYS),
}


def tensors(queries: int, shared: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(queries)
    keys, values = torch.randn(2, ROWS, shared, KEYS, SIZE, generator=random)
    return torch.randn(ROWS, HEADS, queries, SIZE, generator=random), keys, values


def copied(query, keys, values, bias, cap):
    keys, values = (part.repeat_interleave(HEADS // keys.shape[1], 1) for part in (keys, values))
    scores = query @ keys.transpose(2, 3) * 0.7
    scores = cap * (scores / cap).tanh() if cap else scores
    probabilities = (scores if bias is None else scores + bias).softmax(-1)
    return probabilities @ values, probabilities


@pytest.mark.parametrize("cap", [0.0, 1.5])
@pytest.mark.parametrize("shared", [1, 2, 6])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("name", BIASES)
def test_shared_heads_give_the_result_of_copied_ones(name, queries, shared, cap):
    stack = replace(STACK, key_value_heads=shared, attention_softcap=cap)
    query, keys, values = tensors(queries, shared)
    shape = BIASES[name]
    bias = None if shape is None else torch.randn([queries if size == -1 else size for size in shape])
    wanted, probabilities = copied(query, keys, values, bias, cap)
    torch.testing.assert_close(formula_of(stack)(query, keys, values, bias), wanted)
    found, seen = visible_formula_of(stack)(query, keys, values, bias)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(seen, probabilities)


@pytest.mark.parametrize("shared", [1, 2, 6])
def test_the_formula_can_hide_the_future_by_itself(shared):
    query, keys, values = tensors(KEYS, shared)
    future = torch.full((KEYS, KEYS), float("-inf")).triu(1)
    wanted, _ = copied(query, keys, values, future, 0.0)
    stack = replace(STACK, key_value_heads=shared)
    torch.testing.assert_close(causal_formula_of(stack)(query, keys, values, None), wanted)
