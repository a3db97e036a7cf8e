"""What architectures the library can express."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.transformer.ctranslate2.support import why_not
from slipway.transformer.spec import Experts, Gate, Languages, Positions, Stack, Transformer, Vision

STACK = Stack(layers=2, hidden=16, heads=2, head_size=8, inner=32, vocabulary=40, position_rows=20)
BOTH = Transformer(encoder=STACK, decoder=STACK)


@pytest.mark.parametrize("spec", [BOTH, replace(BOTH, encoder=None), replace(BOTH, decoder=None)])
def test_plain_stacks_can_be_expressed(spec):
    assert why_not(spec) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"experts": Experts(4, 2, Gate.SOFT, (1,))}, "mixture of experts"),
        ({"languages": 3}, "language"),
        ({"positions": Positions.NONE, "position_rows": 0}, "without positions"),
        ({"norm_epsilon": 1e-12}, "epsilon"),
        ({"vision": Vision(32, 16)}, "images"),
        ({"embedded_input": True}, "embedded"),
        ({"token_types": 2}, "token types"),
        ({"relative_per_layer": True}, "each layer's own relative positions"),
        ({"vocabulary": 2**27}, "4 GiB"),
    ],
)
def test_what_a_stack_cannot_have_is_named(changes, reason):
    assert reason in why_not(replace(BOTH, encoder=replace(STACK, **changes)))


def test_reasons_are_collected():
    reason = why_not(replace(BOTH, encoder=replace(STACK, languages=2), language_mode=Languages.EVERY_TOKEN))
    assert reason == "language embeddings"
