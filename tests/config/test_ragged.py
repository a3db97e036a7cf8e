"""The tensors that depend on a batch are read from config.pbtxt."""

from __future__ import annotations

import pytest

from slipway.config.normalise import normalise
from slipway.config.padding import padding_problems
from slipway.config.parse import parse_config
from slipway.config.ragged import batch_input_names, has_ragged_batches
from slipway.config.signature import build_signature
from slipway.core.ragged import BatchInput, RaggedBatch

RAGGED = "allow_ragged_batch: true"
INPUT = """batch_input [ { kind: BATCH_ITEM_SHAPE target_name: [ "a", "b" ] data_type: TYPE_FP32 source_input: "x" },
{ kind: BATCH_ELEMENT_COUNT target_name: "c" data_type: TYPE_INT32 source_input: "z" } ]
"""
OUTPUT = 'batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "y" source_input: "x" } ]\n'


def model(text="", x=""):
    config = parse_config(
        f"""name: "m" backend: "onnxruntime" max_batch_size: 4 dynamic_batching {{ }}
        input [ {{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] {x} }} ]
        input [ {{ name: "z" data_type: TYPE_FP32 dims: [ 1 ] }} ]
        output [ {{ name: "y" data_type: TYPE_FP32 dims: [ -1 ] }} ]
        {text}""",
        "config.pbtxt",
    )
    normalise(config)
    return config


def test_a_signature_names_the_tensors_that_depend_on_the_batch(tmp_path):
    assert build_signature(model(INPUT + OUTPUT, RAGGED), tmp_path).ragged == RaggedBatch(
        frozenset("x"),
        (
            BatchInput("BATCH_ITEM_SHAPE", ("a", "b"), "FP32", "x"),
            BatchInput("BATCH_ELEMENT_COUNT", ("c",), "INT32", "z"),
        ),
        {"y": "x"},
    )
    assert batch_input_names(model(INPUT)) == ["a", "b", "c"]


def test_a_signature_without_them_has_none(tmp_path):
    assert not build_signature(model(), tmp_path).ragged


@pytest.mark.parametrize(
    ("text", "x", "expected"), [("", "", False), ("", RAGGED, True), (INPUT, "", True), (OUTPUT, "", True)]
)
def test_each_of_them_makes_batches_ragged(text, x, expected):
    assert has_ragged_batches(model(text, x)) is expected


@pytest.mark.parametrize(("text", "x"), [("", RAGGED), (INPUT, ""), (OUTPUT, "")])
def test_they_exclude_padding(text, x):
    pads = 'parameters { key: "LENGTH_BATCHING_PAD_VALUES" value { string_value: "x=0" } }'
    assert padding_problems(model(pads)) == []
    (problem,) = padding_problems(model(text + pads, x))
    assert str(problem) == (
        "parameter 'LENGTH_BATCHING_PAD_VALUES' of model 'm' is 'x=0', but padding excludes allow_ragged_batch, "
        "batch_input and batch_output"
    )
