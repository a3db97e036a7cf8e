"""The cache follows its hypotheses, and an encoder's side is shared by those of a row."""

from __future__ import annotations

import torch

from slipway.transformer.module.attention import attend
from slipway.transformer.module.cross_attention_cache import CrossAttentionCache
from slipway.transformer.module.key_value_cache import KeyValueCache
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.spec import Positions, Stack

STACK = Stack(2, 8, 2, 4, 16, 10, positions=Positions.NONE)
WIDTH = 2 * STACK.attention


def test_each_hypothesis_keeps_its_own_history_when_beams_open_cross_and_end():
    like, random = torch.empty(0), torch.Generator().manual_seed(1)
    cache = KeyValueCache(STACK, like, expected=1)
    histories: list[list[list[torch.Tensor]]] = [[[], []] for _ in range(STACK.layers)]  # [layer][hypothesis][token]
    count = 2
    for parents in (None, [0, 0, 0, 1, 1, 1], None, [2, 0, 0, 5, 3, 3], [4, 4, 3], None, [1]):
        if parents is not None:
            cache.reorder(torch.tensor(parents))
            histories = [[list(layer[parent]) for parent in parents] for layer in histories]
            count = len(parents)
        for layer in range(STACK.layers):
            added = torch.randn(count, WIDTH, generator=random)
            seen = cache.append(layer, added)
            for hypothesis in range(count):
                histories[layer][hypothesis].append(added[hypothesis])
                assert torch.equal(seen[:, hypothesis], torch.stack(histories[layer][hypothesis]))
        cache.advance(count)


def test_hypotheses_look_only_at_their_own_row():
    layout = PackedLayout([3, 5, 2, 4], torch.device("cpu"))
    memory = torch.randn(14, WIDTH)
    mask = layout.key_mask(None, torch.float32)
    cache = CrossAttentionCache.of(STACK, [memory, memory], layout, mask)
    starts = [0, 3, 8, 10, 14]
    for rows in ([0, 1, 2, 3], [0, 0, 1, 2, 2, 2, 3], [1, 1, 2, 3], [1, 1, 1, 3], [3, 3], [3]):
        cache.follow(rows)
        query = torch.randn(len(rows), STACK.attention)
        found = cache.attend(1, query)
        for place, row in enumerate(rows):
            own = memory[starts[row] : starts[row + 1]].view(-1, 2, 2, 4).permute(1, 2, 0, 3)[:, None]
            alone = attend(query[place].view(1, 2, 1, 4), own[0], own[1], None, scale=1.0).view(-1)
            torch.testing.assert_close(found[place], alone)
