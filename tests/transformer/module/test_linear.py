"""Every form of a linear layer computes the same product."""

from __future__ import annotations

import pytest
import torch

from slipway.transformer.module.linear import Int8Linear, PackedLinear, PlainLinear, can_pack
from slipway.transformer.spec import Activation


@pytest.mark.parametrize("activation", [None, *Activation])
@pytest.mark.parametrize("with_bias", [True, False])
def test_packed_weights_compute_what_plain_ones_do(activation, with_bias):
    assert can_pack(torch.float32)
    weight, x = torch.randn(24, 16), torch.randn(5, 16)
    bias = torch.randn(24) if with_bias else None
    expected = PlainLinear(weight, bias)(x, activation)
    torch.testing.assert_close(PackedLinear(weight, bias)(x, activation), expected, atol=1e-5, rtol=1e-5)


def test_eight_bits_are_within_a_hundredth_and_a_token_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    weight, bias, x = torch.randn(64, 96), torch.randn(64), torch.randn(7, 96)
    x[3] *= 1000
    x[5] = 0
    linear = Int8Linear(weight, bias)
    found, expected = linear(x), torch.nn.functional.linear(x, weight, bias)
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 0.02
    for place in range(7):
        assert torch.equal(linear(x[place : place + 1])[0], found[place])
