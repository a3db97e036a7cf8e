import pytest

from slipway.core.padding import PaddedInput, PaddingRule
from slipway.core.shapes import likely_shapes
from slipway.core.signature import ModelSignature, TensorSpec


def signature(*dims, max_batch_size=8, step=8, max_tokens=0, rule=True, **fields):
    inputs = {f"x{index}": TensorSpec(f"x{index}", "INT64", each, **fields) for index, each in enumerate(dims)}
    padded = tuple(PaddedInput(name, 0, (1,)) for name in inputs)
    padding = PaddingRule(padded, step=step, max_tokens=max_tokens) if rule else None
    return ModelSignature("m", max_batch_size, inputs, {}, padding=padding)


def shapes(signature, most_tokens):
    return [(shape.rows, shape.length) for shape in likely_shapes(signature, most_tokens)]


def test_single_rows_come_first_by_length_and_then_batches_by_tokens():
    assert shapes(signature((-1,), (-1,)), 32) == [
        *((1, 8), (1, 16), (1, 24), (1, 32)),
        *((2, 8), (3, 8), (2, 16), (4, 8)),
    ]


def test_batches_are_those_that_the_scheduler_forms():
    assert shapes(signature((-1,), max_tokens=16), 32) == [(1, 8), (1, 16), (1, 24), (1, 32), (2, 8)]
    assert shapes(signature((-1,), max_batch_size=2), 32)[4:] == [(2, 8), (2, 16)]


@pytest.mark.parametrize("max_batch_size", [0, 4])
def test_without_a_padding_rule_every_length_is_a_shape_and_there_are_no_batches(max_batch_size):
    assert shapes(signature((-1,), max_batch_size=max_batch_size, rule=False), 3) == [(1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("dims", [[], [(4,)], [(-1, -1)], [(-1,), (-1, -1)]])
def test_inputs_that_do_not_share_one_length_have_no_likely_shapes(dims):
    assert shapes(signature(*dims), 32) == []


def test_ragged_and_reshaped_inputs_have_no_likely_shapes():
    assert shapes(signature((-1,), ragged=True), 32) == []
    assert shapes(signature((-1,), reshape=(1, -1)), 32) == []


def test_zero_tokens_mean_no_shapes():
    assert shapes(signature((-1,)), 0) == []
