"""Tensors that describe a batch, or are divided by it, have to fit the graph."""

from __future__ import annotations

import pytest

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.shared.graph_check import check_config
from slipway.errors import SlipwayError
from tests.backends.models import parse

UNABLE = "unable to load model 'm', "


def tensor(name, dims, config_type="TYPE_FP32", *, ranked=True):
    return GraphTensor(name, config_type, dims, ranked)


def graph(bounds, *outputs, x=(-1,)):
    inputs = (tensor("x", x), bounds)
    return Graph({each.name: each for each in inputs}, {each.name: each for each in outputs}, {})


BOUNDS = tensor("b", (-1,))
FLAT = graph(BOUNDS, tensor("y", (-1,)))
SCATTER = 'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "y" source_input: "x" } '


def config(described='target_name: "b" source_input: "x"', *, kind="BATCH_ELEMENT_COUNT", size=4, x="", rest=SCATTER):
    return parse(
        f"""max_batch_size: {size}
        input {{ name: "x" data_type: TYPE_FP32 dims: [ -1, -1 ] allow_ragged_batch: true {x} }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [ -1, -1 ] }}
        batch_input {{ kind: {kind} data_type: TYPE_FP32 {described} }} {rest}"""
    )


def refused(model, against=FLAT):
    with pytest.raises(SlipwayError) as caught:
        check_config(model, against)
    return caught.value.message


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        ("BATCH_ELEMENT_COUNT", (-1,)),
        ("BATCH_ITEM_SHAPE_FLATTEN", (-1,)),
        ("BATCH_ITEM_SHAPE", (-1, 2)),
        ("BATCH_ITEM_SHAPE", (-1, -1)),
    ],
)
def test_what_fits_passes(kind, bounds):
    check_config(config(kind=kind), graph(tensor("b", bounds), tensor("y", (-1,))))


def test_a_graph_that_does_not_specify_the_rank_passes():
    check_config(config(), graph(tensor("b", (), ranked=False), tensor("y", (-1,))))


@pytest.mark.parametrize(
    ("kind", "bounds", "expected"),
    [
        ("BATCH_ELEMENT_COUNT", (-1, 2), "[-1]"),
        ("BATCH_ITEM_SHAPE", (-1,), "[-1,2]"),
        ("BATCH_ITEM_SHAPE", (-1, 3), "[-1,2]"),
    ],
)
def test_a_kind_with_another_shape_is_refused(kind, bounds, expected):
    provided = "[" + ",".join(map(str, bounds)) + "]"
    assert refused(config(kind=kind), graph(tensor("b", bounds), tensor("y", (-1,)))) == (
        f"{UNABLE}batch input 'b' of kind '{kind}' has shape {expected}, model provides {provided}"
    )


def test_another_datatype_is_refused():
    assert refused(config(), graph(tensor("b", (-1,), "TYPE_INT64"), tensor("y", (-1,)))) == (
        f"{UNABLE}configuration expects datatype TYPE_FP32 for batch input 'b', model provides TYPE_INT64"
    )


def test_an_unknown_target_is_refused():
    assert refused(config('target_name: "c" source_input: "x"')) == (
        "unexpected inference input 'c', allowed inputs are: b, x"
    )


def test_a_batch_input_without_target_is_counted_and_refused():
    assert refused(config('source_input: "x"')).splitlines() == [
        f"{UNABLE}configuration expects 1 inputs, model provides 2",
        f"{UNABLE}batch input kind 'BATCH_ELEMENT_COUNT' names no input of the model",
    ]


def test_a_target_with_two_sources_is_refused():
    assert f"{UNABLE}batch input 'b' is declared twice" in refused(config('target_name: ["b", "b"] source_input: "x"'))
    assert f"{UNABLE}batch input 'x' is declared twice" in refused(config('target_name: "x" source_input: "x"'))


def test_a_variable_dim_that_the_source_lacks_is_refused():
    model = config()
    model.output[0].dims.append(-1)
    assert refused(model) == (f"{UNABLE}dim 2 of batch output 'y' is variable, but its source input 'x' has 2 dims")


def test_an_optional_source_is_refused():
    lines = refused(config(size=0, x="optional: true")).splitlines()
    assert f"{UNABLE}batch input kind 'BATCH_ELEMENT_COUNT' needs input 'x', which is optional" in lines
    assert f"{UNABLE}batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' needs input 'x', which is optional" in lines
    assert (
        f"{UNABLE}configuration expects model provides input with shape [-1] for ragged input 'x', which is not "
        "supported for optional input"
    ) in lines


def test_an_output_that_is_not_scattered_has_the_shape_of_the_graph():
    assert "tensor 'y': the model expects 1 dimensions" in refused(config(rest=""))
