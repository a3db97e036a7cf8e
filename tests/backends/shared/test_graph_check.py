"""The texts are those of Triton's onnxruntime backend."""

import pytest

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.shared.graph_check import check_config
from slipway.errors import Code, SlipwayError
from tests.backends.models import parse


def tensors(**dims):
    return {name: GraphTensor(name, "TYPE_FP32", size) for name, size in dims.items()}


GRAPH = Graph(tensors(x=(-1, 2), z=(-1, -1)), tensors(y=(-1, 2), u=(-1, -1)), {})
X = 'input { name: "x" data_type: TYPE_FP32 dims: [2] } '
Z = 'input { name: "z" data_type: TYPE_FP32 dims: [5] } '
Y = 'output { name: "y" data_type: TYPE_FP32 dims: [2] } '
GOOD = "max_batch_size: 8 " + X + Z + Y


def refused(text: str, graph: Graph = GRAPH) -> str:
    with pytest.raises(SlipwayError) as caught:
        check_config(parse(text), graph)
    assert caught.value.code is Code.INVALID_ARG
    return caught.value.message


def test_a_configuration_that_agrees_passes():
    check_config(parse(GOOD), GRAPH)


def test_an_unknown_output_lists_the_allowed_ones():
    assert refused(GOOD.replace('"y"', '"Y"')) == "unexpected inference output 'Y', allowed outputs are: u, y"


def test_an_unknown_input_lists_the_allowed_ones():
    assert refused(GOOD.replace('"x"', '"X"')) == "unexpected inference input 'X', allowed inputs are: x, z"


def test_a_missing_input_is_counted():
    message = refused(GOOD.replace(Z, ""))
    assert message == "unable to load model 'm', configuration expects 1 inputs, model provides 2"


def test_a_datatype_mismatch_names_both():
    assert refused(GOOD.replace("TYPE_FP32 dims: [5]", "TYPE_INT64 dims: [5]")) == (
        "unable to load model 'm', configuration expects datatype TYPE_INT64 for input 'z', model provides TYPE_FP32"
    )


def test_a_shape_mismatch_names_both_with_the_batch_dimension():
    assert refused(GOOD.replace("dims: [2]", "dims: [3]", 1)) == (
        "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,2]) but the model configuration specifies "
        "2 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
        "making complete shape [-1,3])"
    )


def test_a_shape_mismatch_without_batching():
    message = refused(GOOD.replace("max_batch_size: 8", ""))
    assert message.splitlines()[0] == (
        "model 'm', tensor 'x': the model expects 2 dimensions (shape [-1,2]) but the model configuration specifies "
        "1 dimensions (shape [2])"
    )


def test_a_size_that_an_output_may_have_is_not_a_contradiction():
    fixed = 'output { name: "u" data_type: TYPE_FP32 dims: [5] } '
    check_config(parse(GOOD + fixed), GRAPH)
    check_config(parse(GOOD + fixed.replace("5", "-1")), GRAPH)
    check_config(parse(GOOD.replace(Y, Y.replace("[2]", "[-1]"))), GRAPH)
    assert "tensor 'y': the model expects 2 dimensions (shape [-1,2])" in refused(
        GOOD.replace(Y, Y.replace("[2]", "[3]"))
    )


def test_an_input_that_takes_one_size_may_not_be_declared_variable():
    assert "tensor 'x': the model expects 2 dimensions (shape [-1,2])" in refused(
        GOOD.replace(X, X.replace("[2]", "[-1]"))
    )


def test_of_a_tensor_without_a_rank_every_shape_may_be_declared():
    unknown = GraphTensor("y", "TYPE_FP32", (), ranked=False)
    check_config(parse(X + Y.replace("[2]", "[-1, 7]")), Graph(tensors(x=(2,)), {"y": unknown}, {}))


def test_a_graph_with_a_fixed_first_dimension_cannot_batch():
    graph = Graph(tensors(x=(1, 2)), tensors(y=(1, 2)), {})
    assert refused("max_batch_size: 8 " + X + Y, graph).splitlines()[0] == (
        "model 'm', tensor 'x': for the model to support batching the shape should have at least 1 dimension and the "
        "first dimension must be -1; but shape expected by the model is [1,2]"
    )


def test_a_scalar_must_be_declared_with_one_element():
    graph = Graph(tensors(x=()), tensors(y=()), {})
    assert refused(X + Y, graph).splitlines()[0] == (
        "unable to load model 'm', scalar tensor 'x', should only provide 1 in the model configuration when the model "
        "doesn't support batching. Model configuration provided: [2]."
    )
    check_config(parse((X + Y).replace("[2]", "[1]")), graph)
    check_config(parse((X + Y).replace("[2]", "[1] reshape { shape: [] }")), graph)


def test_a_reshape_is_what_is_compared():
    check_config(parse(GOOD.replace("[5]", "[1,5] reshape { shape: [5] }")), GRAPH)


def test_optional_inputs_must_be_initializers_of_a_model_without_batching():
    graph = Graph(tensors(x=(2,)), tensors(y=(2,)), tensors(w=(2,)))
    optional = 'input { name: "w" data_type: TYPE_FP32 dims: [2] optional: true } '
    check_config(parse(X + optional + Y), graph)
    assert "optional input 'w' is not supported for models that support batching" in refused(
        "max_batch_size: 2 " + X + optional + Y, graph
    )


def test_every_problem_is_reported_at_once():
    assert len(refused(GOOD.replace('"x"', '"X"').replace('"y"', '"Y"')).splitlines()) == 2
