"""What a candidate's perplexity may be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slipway.convert.perplexity import ScoredTexts, compare, perplexity_problems
from slipway.convert.thresholds import ACCURACY, BALANCED, FAST, HIGH

ROWS = (np.arange(3), np.arange(5))
EXPECTED = ScoredTexts(ROWS, (2.0, 1.0))


def problems(factor, precision, accuracy=BALANCED):
    found = compare(EXPECTED, [loss + math.log(factor) for loss in EXPECTED.losses])
    assert found.change == pytest.approx(factor - 1)
    return list(perplexity_problems(found, precision, ACCURACY[accuracy], reference="transformers"))


def test_every_predicted_token_counts_the_same():
    assert EXPECTED.tokens == 6
    assert EXPECTED.perplexity == pytest.approx(math.exp((2 * 2.0 + 4 * 1.0) / 6))


@pytest.mark.parametrize(
    ("factor", "precision", "accuracy"),
    [
        (1.0005, "fp32", BALANCED),
        (1.009, "int8", BALANCED),
        (0.991, "bf16", BALANCED),
        (1.029, "int4", BALANCED),
        (1.019, "int8", FAST),
        (1.059, "int4", FAST),
        (1.004, "int8", HIGH),
    ],
)
def test_rounding_passes(factor, precision, accuracy):
    assert problems(factor, precision, accuracy) == []


@pytest.mark.parametrize(
    ("factor", "precision", "accuracy", "said"),
    [
        (1.002, "fp32", BALANCED, "+0.20% (allowed: 0.1% either way)"),
        (1.002, "fp32", FAST, "+0.20% (allowed: 0.1% either way)"),
        (1.02, "int8", BALANCED, "+2.00% (allowed: 1% either way)"),
        (0.98, "bf16", BALANCED, "-2.00% (allowed: 1% either way)"),
        (1.04, "int4", BALANCED, "+4.00% (allowed: 3% either way)"),
        (1.008, "int8", HIGH, "+0.80% (allowed: 0.5% either way)"),
    ],
)
def test_more_than_rounding_is_refused_with_both_figures(factor, precision, accuracy, said):
    (problem,) = problems(factor, precision, accuracy)
    assert problem.startswith("its perplexity on 6 tokens of real text is ")
    assert said in problem


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e4])
def test_what_is_not_finite_is_refused(loss):
    found = compare(EXPECTED, [2.0, loss])
    (problem,) = perplexity_problems(found, "int4", ACCURACY[FAST], reference="transformers")
    assert problem.startswith("the log-probabilities of real text are not finite")
