"""8-bit weights: golden bytes, clips, and the size of a file from post-training quantisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.checkpoints.lightseq.quantise import dequantise, quantise, weight_clip
from slipway.checkpoints.lightseq.writer import write_lightseq
from tests.checkpoints.lightseq.models import checkpoint, conf_of, spec_of

GOLDEN = np.array([-1, 0, 0.5, 1], np.float32)


@pytest.mark.capability("1.10")
def test_golden_bytes_of_quantisation():
    result = quantise(GOLDEN, 1.0)
    assert result.dtype == np.uint8
    assert result.tolist() == [0, 127, 191, 254]


@pytest.mark.capability("1.10")
def test_golden_values_of_dequantisation():
    np.testing.assert_allclose(dequantise(quantise(GOLDEN, 1.0), 1.0), [-1, 0, 0.50394, 1], atol=1e-5)


def test_values_outside_the_clip_are_clipped():
    assert quantise(np.array([-9, 9, 0.1], np.float32), 0.2).tolist() == [0, 254, 191]


@pytest.mark.parametrize(("size", "k"), [(10, 1), (100_000, 2), (149_999, 2), (150_000, 3)])
def test_weights_are_clipped_at_the_kth_largest_value(size, k):
    values = np.random.default_rng(0).permutation(size).astype(np.float32)
    assert weight_clip(values) == size - k


def test_a_tensor_without_positive_values_keeps_its_numbers():
    values = np.array([-2, -1], np.float32)
    assert dequantise(quantise(values, weight_clip(values)), weight_clip(values)).tolist() == pytest.approx(
        [-2, -1], abs=0.01
    )
    assert weight_clip(np.zeros(3, np.float32)) == 1.0


@pytest.mark.capability("1.11")
@pytest.mark.parametrize("base", ["Transformer", "Bert", "Gpt"])
@pytest.mark.parametrize("suffix", [".pb", ".hdf5"])
def test_an_8_bit_file_is_at_most_three_tenths_of_the_float_file(base, suffix, tmp_path):
    spec = spec_of(f"Quant{base}")
    wide = {"hidden": 128, "head_size": 64, "inner": 512, "attention_scale": 0.125}
    spec = replace(
        spec,
        encoder=replace(spec.encoder, **wide, vocabulary=1000, embedding_scale=1.0) if spec.encoder else None,
        decoder=replace(spec.decoder, **wide, vocabulary=1000, embedding_scale=1.0) if spec.decoder else None,
    )
    if base == "Transformer":
        spec = replace(spec, logit_scale=128**-0.5)
    source = checkpoint(spec)
    sizes = [
        write_lightseq(tmp_path / f"{kind}{suffix}", source, conf_of(kind)).stat().st_size
        for kind in (base, f"Quant{base}")
    ]
    assert sizes[1] <= 0.3 * sizes[0]
