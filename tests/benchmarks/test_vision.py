"""The benchmark of networks that see images runs, on a network too small to measure anything."""

from __future__ import annotations

from benchmarks.vision import vision

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 16,
}


def test_both_ways_are_compared_in_images_per_second():
    rows = vision(turns=1, files=2, flags=("--engine", "onnxruntime", "--precision", "fp32"), **SMALL)
    assert [row.unit for row in rows] == ["/s", "/s"]
    assert all(row.value > 0 and row.reference and row.at_least == 2.0 for row in rows)
    assert "onnxruntime fp32" in rows[0].name
