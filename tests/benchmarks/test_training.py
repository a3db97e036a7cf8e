"""The benchmark of training runs small: both sides do the work, and the row has its target."""

from __future__ import annotations

import pytest

from benchmarks.training import measure


@pytest.mark.slow
def test_training_is_measured_against_transformers():
    [row] = measure(60, batches=1, tokens=256)
    assert row.value > 0
    assert row.reference > 0
    assert row.at_least == 1.2
