"""Relative positions are those of T5 in transformers."""

from __future__ import annotations

import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from slipway.transformer.module.relative_bias import RelativeBias, buckets


@pytest.mark.parametrize("both_ways", [True, False])
def test_the_bucket_of_every_distance_is_that_of_transformers(both_ways):
    distances = torch.arange(-700, 700)
    expected = T5Attention._relative_position_bucket(distances, bidirectional=both_ways, num_buckets=32)
    assert torch.equal(buckets(distances, count=32, furthest=128, both_ways=both_ways), expected)


def test_the_last_query_s_bias_is_the_last_line_of_the_whole_at_any_length():
    bias = RelativeBias(torch.randn(8, 3), furthest=20, both_ways=False)
    for width in (1, 2, 63, 64, 65, 200, 7):
        assert torch.equal(bias.last(width), bias.full(width)[:, :, -1:])
