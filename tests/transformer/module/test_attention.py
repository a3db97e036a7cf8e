"""A projection becomes queries, keys and values with their heads, in one place and without a copy."""

from __future__ import annotations

import torch

from slipway.transformer.module.attention import Heads

HEADS, SIZE = Heads(3, 12), 4
ROWS, TOKENS = 2, 5


def projection() -> torch.Tensor:
    return torch.arange(float(ROWS * TOKENS * 3 * HEADS.width)).view(ROWS, TOKENS, 3 * HEADS.width)


def of_head(projected: torch.Tensor, part: int, head: int) -> torch.Tensor:
    start = part * HEADS.width + head * SIZE
    return projected[:, :, start : start + SIZE]


def test_each_head_has_its_numbers_of_queries_keys_and_values():
    projected = projection()
    for part, split in enumerate(HEADS.split(projected)):
        for head in range(HEADS.count):
            assert torch.equal(split[:, head], of_head(projected, part, head))


def test_what_caches_keep_splits_into_the_same_keys_and_values():
    projected = projection()
    _, keys, values = HEADS.split(projected)
    found = HEADS.split_keys_values(HEADS.keys_values(projected))
    assert torch.equal(found[0], keys)
    assert torch.equal(found[1], values)


def test_queries_alone_are_split_as_beside_keys_and_values():
    projected = projection()
    queries = projected[..., : HEADS.width].reshape(ROWS * TOKENS, HEADS.width)
    assert torch.equal(HEADS.split_queries(queries, ROWS), HEADS.split(projected)[0])


def test_one_token_of_each_row_is_split_into_queries_and_what_a_cache_appends():
    projected = projection()[:, :1]
    query, appended = HEADS.split_step(projected[:, 0])
    assert torch.equal(query, HEADS.split(projected)[0])
    assert torch.equal(appended, HEADS.keys_values(projected[:, 0]))


def test_joining_undoes_splitting():
    projected = projection()
    query, _, _ = HEADS.split(projected)
    assert torch.equal(HEADS.join(query), projected[..., : HEADS.width].reshape(-1, HEADS.width))


def test_splitting_copies_nothing():
    projected = projection()
    first = projected.untyped_storage().data_ptr()
    step = HEADS.split_step(projected[:, 0])
    for part in (*HEADS.split(projected), HEADS.keys_values(projected), *step):
        assert part.untyped_storage().data_ptr() == first
