"""The engines and precisions that are tried, and why the others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.convert.candidates.variants import choose_variants
from slipway.convert.options import ConvertOptions
from slipway.errors import SlipwayError
from slipway.machine import has_bfloat16


def options(*engine_and_precision: str) -> ConvertOptions:
    return ConvertOptions("m", Path("models"), *engine_and_precision)


def test_auto_tries_every_engine_that_can_win_here():
    tried, skipped = choose_variants(options())
    labels = [variant.label for variant in tried]
    assert labels[:2] == ["onnxruntime fp32", "onnxruntime int8 (dynamic)"]
    assert {"openvino int8 (smoothed)", "openvino int8 (plain)"} <= set(labels)
    assert ("openvino bf16" in labels) == has_bfloat16()
    reasons = {row.label: row.reason for row in skipped}
    assert "slower than the other engines" in reasons["pytorch fp32"]
    assert "needs an NVIDIA GPU" in reasons["tensorrt fp32"]


def test_what_auto_passes_over_is_tried_when_named():
    assert [variant.label for variant in choose_variants(options("pytorch", "fp32"))[0]] == ["pytorch fp32"]
    assert [variant.label for variant in choose_variants(options("openvino", "fp16"))[0]] == ["openvino fp16"]


def test_a_precision_an_engine_lacks_is_refused_with_those_it_has():
    expected = "'onnxruntime' does not support precision 'bf16'; supported: fp32, fp16, int8"
    with pytest.raises(SlipwayError, match=expected):
        choose_variants(options("onnxruntime", "bf16"))


def test_tensorrt_without_a_gpu_is_refused_with_the_alternative():
    with pytest.raises(SlipwayError, match=r"machine has no GPU.*--engine openvino or --engine onnxruntime"):
        choose_variants(options("tensorrt", "auto"))
