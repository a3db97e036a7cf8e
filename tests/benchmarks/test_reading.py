"""The benchmark of reading runs small, and both sides do the same work."""

from __future__ import annotations

import pytest

from benchmarks.reading import reading

pytest.importorskip("PIL")


def test_every_row_is_measured_and_has_its_target():
    speed, http, grpc = reading(
        turns=1, tokens=3, precision="fp32", embed_dim=12, d_model=16, decoder_layers=1, decoder_ffn_dim=16,
        decoder_attention_heads=2, vocab_size=60,
    )  # fmt: skip
    assert speed.value > 0
    assert speed.reference > 0
    assert speed.at_least == 2
    assert [row.reference for row in (http, grpc)] == [60, 60]  # MB
    assert [row.at_most for row in (http, grpc)] == [1.2, None]
    assert http.value > 0
