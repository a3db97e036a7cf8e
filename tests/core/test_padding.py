"""Requests of different lengths in one batch: padded to the longest, with outputs trimmed to their own length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.core.batch import split, stack
from slipway.core.padding import PaddedInput, PaddingRule, Trim, count_tokens, stack_padded
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError

RULE = PaddingRule((PaddedInput("x", 9, (1,)),), (Trim("y", 1, "x", 1),))


def signature(rule=RULE, *, reshape=None):
    return ModelSignature(
        "m",
        8,
        {"x": TensorSpec("x", "INT64", (-1, 2), reshape=reshape), "k": TensorSpec("k", "INT32", (1,))},
        {"y": TensorSpec("y", "INT64", (-1, 2)), "z": TensorSpec("z", "INT64", (-1,))},
        padding=rule,
    )


def request(rows, length):
    x = np.arange(rows * length * 2, dtype=np.int64).reshape(rows, length, 2)
    tensors = [Tensor.from_array("x", x), Tensor.from_array("k", np.zeros((rows, 1), np.int32))]
    return InferRequest("m", inputs={tensor.name: tensor for tensor in tensors})


def test_shorter_requests_are_padded_at_their_end_with_their_value():
    stacked = stack([request(1, 1), request(2, 3)], signature())
    assert stacked["x"].tolist() == [
        [[0, 1], [9, 9], [9, 9]],
        [[0, 1], [2, 3], [4, 5]],
        [[6, 7], [8, 9], [10, 11]],
    ]
    assert stacked["x"].dtype == np.int64
    assert stacked["k"].shape == (3, 1)


def test_a_request_alone_is_not_padded_and_not_copied():
    alone = request(2, 3)
    assert stack([alone], signature())["x"] is alone.inputs["x"].array


def test_requests_of_one_length_are_only_put_together():
    assert stack([request(1, 2), request(1, 2)], signature())["x"].shape == (2, 2, 2)


def test_padding_comes_before_reshaping():
    stacked = stack([request(1, 1), request(1, 2)], signature(reshape=(2, -1)))
    assert stacked["x"].shape == (2, 2, 2)
    assert stacked["x"].reshape(2, 2, 2)[0].tolist() == [[0, 1], [9, 9]]


@pytest.mark.parametrize(
    ("shapes", "expected"), [([(1, 0), (2, 3)], (3, 3)), ([(0, 5), (1, 2)], (1, 5)), ([(0, 1), (0, 2)], (0, 2))]
)
def test_empty_requests_can_be_padded_too(shapes, expected):
    assert stack_padded([np.zeros(shape, np.float32) for shape in shapes], 7.0, expected[1:]).shape == expected


def test_outputs_that_follow_an_input_are_cut_and_others_are_not():
    requests = [request(1, 1), request(2, 3)]
    y, z = np.arange(18).reshape(3, 3, 2), np.arange(9).reshape(3, 3)
    first, second = split({"y": y, "z": z}, [1, 2], signature(), requests=requests)
    assert [tensor.shape for tensor in first] == [(1, 1, 2), (1, 3)]
    assert [tensor.shape for tensor in second] == [(2, 3, 2), (2, 3)]
    assert bytes(first[0].raw) == y[:1, :1].tobytes()


def test_an_output_that_does_not_follow_its_input_is_an_error_not_a_guess():
    text = r"output 'y' of model 'm' has shape \[1, 4, 2\], but its dim 0 .* padded to 3"
    with pytest.raises(SlipwayError, match=text) as refused:
        split({"y": np.zeros((3, 4, 2))}, [1, 2], signature(), requests=[request(1, 1), request(2, 3)])
    assert refused.value.code is Code.INTERNAL


def test_an_optional_input_that_is_absent_trims_nothing():
    rule = PaddingRule((PaddedInput("w", 0, (1,)), *RULE.inputs), (Trim("y", 1, "w", 1),))
    requests = [request(1, 1), request(1, 2)]
    parts = split({"y": np.zeros((2, 2, 2))}, [1, 1], signature(rule), requests=requests)
    assert parts[0][0].shape == (1, 2, 2)
    assert rule.sizes(requests[1].inputs) == (2,)  # the first input that is there measures
    assert rule.sizes({}) == ()


def test_tokens_are_elements_of_the_variable_dims_and_padding_is_what_rows_lack_to_the_longest():
    def counted(rows, lengths, step=1):
        return count_tokens(rows, [request(1, length).inputs for length in lengths], replace(RULE, step=step))

    assert counted([1, 2], [3, 5]) == (13, 2)
    assert counted([4], [7]) == (28, 0)
    assert counted([4], [7], step=4) == (28, 4)
    assert counted([1, 2], [3, 5], step=4) == (13, 11)


def test_a_step_pads_every_request_and_its_outputs_are_cut_back():
    own = signature(replace(RULE, step=4))
    alone = request(2, 3)
    stacked = stack([alone], own)
    assert stacked["x"].shape == (2, 4, 2)
    assert (stacked["x"][:, 3] == 9).all()
    (answer,) = split({"y": np.zeros((2, 4, 2))}, [2], own, requests=[alone])
    assert answer[0].shape == (2, 3, 2)
    assert stack([request(1, 4)], own)["x"].shape == (1, 4, 2)
    assert stack([request(1, 2), request(1, 5)], own)["x"].shape == (2, 8, 2)


def test_a_step_leaves_alone_what_it_might_change():
    rule = PaddingRule((*RULE.inputs, PaddedInput("w", 0, (1,))), step=4)
    tensors = request(1, 3).inputs
    broadcast = {**tensors, "w": Tensor.from_array("w", np.ones((1, 1), np.int64))}
    assert rule.rounded((3,), tensors) == (4,)
    assert rule.rounded((3,), broadcast) == (3,)
    assert rule.rounded((0,), request(1, 0).inputs) == (0,)
