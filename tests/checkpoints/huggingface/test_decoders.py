"""A decoder-only checkpoint of any family becomes the specification and arrays it describes, or one error."""

from __future__ import annotations

import pytest

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.transformer.weights import expected_shapes
from tests.kits.decoder_models import DECODERS, save_decoder


@pytest.mark.parametrize("name", DECODERS)
def test_each_family_gives_exactly_the_arrays_of_its_specification(name, tmp_path):
    save_decoder(name, tmp_path)
    checkpoint = read_huggingface(tmp_path)
    assert checkpoint.weights.shapes == expected_shapes(checkpoint.spec)
    for each, shape in checkpoint.weights.shapes.items():
        assert checkpoint.weights[each].shape == shape
    assert checkpoint.ignored_settings == ()
