"""Nested lists are regular or refused, whether they are read as text or as values."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import msgspec
import pytest

from slipway.errors import SlipwayError
from slipway.wire.json_tensor import decode_tensor
from slipway.wire.nesting import is_ragged

REGULAR = ([1], [1, 2, 3], [[1, 2], [3, 4]], [[1], [2], [3]], [[[1, 2]], [[3, 4]], [[5, 6]]], [[[[1]]]], [[[1], [2]]])
RAGGED = (
    [[1, 2], [3]],
    [[1], [2, 3]],
    [1, [2, 3]],
    [[1, 2], 3],
    [[1, 2], [3, [4]]],
    [[[1, 2]], [[3], [4]]],
    [[[1], [2]], [[3, 4]]],
    [[[1, 2], [3, 4]], [[5, 6]]],
    [[1], [[2]]],
    [[[1]], [2]],
    [[[[1, 2]]], [[3], [4]]],
)


def leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


def shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of nested lists, or None if they are ragged."""
    if not isinstance(value, list):
        return ()
    shapes = {shape(item) for item in value}
    return (len(value), *shapes.pop()) if len(shapes) == 1 and None not in shapes else None


def nested(random_: random.Random, depth: int) -> Any:
    if depth == 0 or random_.random() < 0.1:
        return random_.randint(-9, 9)
    return [nested(random_, depth - 1) for _ in range(random_.randint(1, 3))]


KINDS = {"FP32": "1.5", "INT64": "7", "BOOL": "true", "BYTES": '"a"'}


def decode(datatype: str, value: list[Any], leaf: str) -> list[Any]:
    """Decode lists that are nested like `value`, with `leaf` in place of every number."""
    text = re.sub("[0-9]+", lambda _: leaf, json.dumps(value))
    return decode_tensor("IN0", datatype, (len(leaves(value)),), msgspec.Raw(text.encode())).array.tolist()


@pytest.mark.parametrize("value", REGULAR, ids=str)
@pytest.mark.parametrize("datatype", KINDS)
def test_regular_lists_of_any_shape_are_read(datatype, value):
    assert len(decode(datatype, value, KINDS[datatype])) == len(leaves(value))


@pytest.mark.parametrize("value", RAGGED, ids=str)
@pytest.mark.parametrize(("datatype", "leaf"), [*KINDS.items(), ("FP32", "NaN")])
def test_ragged_lists_are_refused_even_if_they_have_the_right_number_of_elements(datatype, leaf, value):
    with pytest.raises(SlipwayError, match="Unable to parse 'data': Shape does not match true shape of 'data' field"):
        decode(datatype, value, leaf)


@pytest.mark.parametrize("value", ["[[],[1]]", "[[1],[]]", "[[[]],[[1]]]", "[1,[]]", "[[],1]"])
def test_an_empty_list_among_others_is_ragged(value):
    with pytest.raises(SlipwayError, match="Shape does not match true shape"):
        decode_tensor("IN0", "FP32", (1,), msgspec.Raw(value.encode()))


def test_the_text_and_the_values_agree():
    random_ = random.Random(7)
    for _ in range(5000):
        value = nested(random_, random_.randint(1, 5))
        if isinstance(value, list):
            assert is_ragged(json.dumps(value).encode()) == (shape(value) is None), value
