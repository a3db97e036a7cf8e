"""The benchmark of the running batch runs, on a tiny model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import continuous


def test_all_rows_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = replace(continuous.SPEC.output_stack, layers=2, hidden=32, heads=4, head_size=8, inner=48, vocabulary=2000)
    spec = replace(continuous.SPEC, decoder=replace(stack, rotary=replace(continuous.ROTARY, size=8)))
    settings = {"SPEC": spec, "REQUESTS": 5, "PROMPTS": (3, 20), "NEW_TOKENS": (2, 6), "ARRIVING_S": 0.05}
    for name, value in {**settings, "COMPUTE_TYPE": "float32"}.items():
        monkeypatch.setattr(continuous, name, value)
    rows = continuous.continuous()
    assert [row.unit for row in rows] == ["tok/s", "ms", "ms"]
    assert all(row.value > 0 and row.reference for row in rows)
