"""Packed tokens and their grid."""

from __future__ import annotations

import torch

from slipway.transformer.module.packed_layout import PackedLayout

CPU = torch.device("cpu")


def test_tokens_come_back_from_the_grid_on_either_side():
    x = torch.arange(12.0).view(6, 2)
    for right in (False, True):
        layout = PackedLayout([3, 1, 2], CPU, right=right)
        assert torch.equal(layout.gather(layout.spread(x)), x)


def test_prompts_end_in_the_last_column():
    layout = PackedLayout([3, 1, 2], CPU, right=True)
    grid = layout.spread(torch.tensor([1, 2, 3, 4, 5, 6]), fill=0)
    assert grid.tolist() == [[1, 2, 3], [0, 0, 4], [0, 5, 6]]
    assert layout.last.tolist() == [2, 3, 5]
    assert layout.positions.tolist() == [0, 1, 2, 0, 0, 1]


def test_empty_cells_and_padding_tokens_are_not_looked_at():
    layout = PackedLayout([3, 1], CPU)
    mask = layout.key_mask(torch.tensor([False, True, False, False]), torch.float32)
    assert mask is not None
    assert (mask < 0).tolist() == [[False, True, False], [False, True, True]]


def test_equally_long_rows_need_neither_mask_nor_copy():
    layout = PackedLayout([2, 2], CPU)
    x = torch.randn(4, 3)
    assert layout.key_mask(None, torch.float32) is None
    assert layout.spread(x).data_ptr() == x.data_ptr()
