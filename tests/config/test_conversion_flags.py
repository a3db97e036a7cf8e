"""The flags of `slipway serve` for conversions are those of `slipway convert`."""

from __future__ import annotations

import pytest

from slipway.config.conversion_flags import ACCURACIES, AUTO, ENGINES, EXACT, PRECISIONS, TASKS, ConversionFlags
from slipway.config.options import parse_options
from slipway.convert import options as convert_options
from slipway.convert import token_variants, variants
from slipway.convert.candidates import variants as candidate_variants
from slipway.convert.directory import Task
from slipway.convert.thresholds import ACCURACY, BALANCED
from slipway.errors import SlipwayError


def test_the_values_are_those_of_the_converter():
    assert (*candidate_variants.ENGINES, *token_variants.ENGINES) == ENGINES
    assert PRECISIONS == variants.PRECISIONS
    assert tuple(ACCURACY) == ACCURACIES
    assert tuple(task.value for task in Task) == TASKS
    assert (AUTO, ConversionFlags().accuracy) == (convert_options.AUTO, BALANCED)
    assert EXACT in PRECISIONS


def test_several_sources_and_their_names_are_read_in_order():
    options = parse_options(["a", "s3://bucket/models", "b/c", "--name=x", "--name", "y", "--precision=int8", "--fast"])
    assert options.sources == ("a", "s3://bucket/models", "b/c")
    assert [str(path) for path in options.model_repository] == ["a", "b/c"]
    assert [each.text for each in options.remote_repositories] == ["s3://bucket/models"]
    assert (options.name, options.precision, options.fast) == (("x", "y"), "int8", True)


def test_fast_needs_something_to_swap_in():
    with pytest.raises(SlipwayError, match="--fast has nothing to swap in with --precision=fp32"):
        parse_options(["a", "--fast", "--precision=fp32"])


def test_a_value_that_the_converter_does_not_know_is_refused():
    with pytest.raises(SlipwayError, match=r"invalid argument int3; expected one of auto, fp32, fp16, bf16, int8"):
        parse_options(["a", "--precision=int3"])
