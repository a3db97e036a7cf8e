"""Queries and keys are turned by the angles of their positions; values, and what a model does not turn, stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from slipway.transformer.module.rotation import StackRotation, row_order
from slipway.transformer.rotary_frequencies import inverse_frequencies
from slipway.transformer.spec import Positions, Rotary, RotaryScaling, Stack

STACK = Stack(
    2, 24, 4, 6, 8, 10, positions=Positions.ROTARY, position_rows=0, rotary=Rotary(4, magnitude=1.3),
    key_value_heads=2, unrotated_layers=(1,),
)  # fmt: skip
WIDTH = STACK.attention + 2 * STACK.key_value
POSITIONS = torch.tensor([0, 3, 7])


def turned_plainly(projected: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Return a projection in the model's own order, turned number by number."""
    heads = projected.view(len(projected), -1, STACK.head_size).clone()
    half = rotary.size // 2
    for token, position in enumerate(POSITIONS.tolist()):
        for pair, frequency in enumerate(inverse_frequencies(rotary).tolist()):
            first, second = (2 * pair, 2 * pair + 1) if rotary.interleaved else (pair, pair + half)
            angle = torch.tensor(position * frequency)
            cosine, sine = angle.cos() * rotary.magnitude, angle.sin() * rotary.magnitude
            for head in range(STACK.heads + 2):
                x, y = projected.view(heads.shape)[token, head, [first, second]]
                heads[token, head, first] = x * cosine - y * sine
                heads[token, head, second] = y * cosine + x * sine
    return heads.view(projected.shape)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_pairs_are_turned_in_place(interleaved, dtype, tolerance):
    stack = replace(STACK, rotary=replace(STACK.rotary, interleaved=interleaved))
    order = row_order(stack, 0)
    assert (order is None) == interleaved
    order = torch.arange(WIDTH) if order is None else order
    projected = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = turned_plainly(projected.float(), stack.rotary)[:, order]
    found = projected[:, order].contiguous()
    StackRotation(stack, found.device).at(POSITIONS, POSITIONS + 1, longest=8).turn(0, found)
    torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=tolerance)


def test_a_layer_without_positions_turns_nothing():
    projected = torch.randn(3, WIDTH)
    before = projected.clone()
    StackRotation(STACK, projected.device).at(POSITIONS, POSITIONS + 1, longest=8).turn(1, projected)
    assert torch.equal(projected, before)
    assert row_order(STACK, 1) is None


@pytest.mark.parametrize("scaling", [RotaryScaling.NONE, RotaryScaling.DYNAMIC])
def test_a_recorded_step_keeps_the_angles_it_reads_when_the_tables_grow(scaling):
    rotary = Rotary(4, scaling=scaling, factor=2.0, original_length=4)
    rotation = StackRotation(replace(STACK, rotary=rotary), torch.device("cpu"))
    kept = rotation.static(9)
    before = kept(POSITIONS, POSITIONS + 1).layers[0].clone()
    longer = rotation.at(POSITIONS, POSITIONS + 1, longest=5000).layers[0]
    assert torch.equal(kept(POSITIONS, POSITIONS + 1).layers[0], before)
    assert torch.equal(longer, before)
