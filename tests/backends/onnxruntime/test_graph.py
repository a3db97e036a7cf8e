"""Completion, drafting, the linter and a load see one graph: the one that is served."""

import numpy as np
import pytest
from onnx import TensorProto

from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from slipway.drafting.draft import draft_config
from slipway.errors import SlipwayError
from slipway.lint.check import check_repository
from slipway.machine import Machine
from slipway.problems import Rule
from tests.backends.models import completion, context, infer, open_instance, parse
from tests.kits import onnx_graphs as graphs

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
MACHINE = Machine(cpus=4, gpus=0)


def completed(directory, text=""):
    config = parse(text)
    OnnxRuntimeBackend().complete(config, completion(directory))
    return config


def dims(declared):
    return {each.name: list(each.dims) for each in declared}


def test_a_size_that_follows_from_constants_is_the_same_number_for_all(tmp_path):
    directory = graphs.folded(tmp_path / "m")
    assert dims(completed(directory).output) == {"y": [8]}
    assert dims(draft_config(directory, MACHINE).config.output) == {"y": [8]}


@pytest.mark.parametrize("size", [8, -1])
def test_a_shape_that_the_graph_can_return_is_served_without_a_finding(tmp_path, size):
    text = f"""backend: "onnxruntime"
max_batch_size: 4
dynamic_batching {{ }}
input {{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ {size} ] }}
"""
    directory = graphs.folded(tmp_path / "m")
    (directory / "config.pbtxt").write_text(text)
    assert check_repository(tmp_path, MACHINE).findings == ()
    executor = open_instance(OnnxRuntimeBackend().load(context(directory, text)))
    assert infer(executor, {"x": np.ones((2, 8), np.float32)})["y"].shape == (2, 8)


def test_without_optimisation_the_linter_sees_what_the_load_sees(tmp_path):
    directory = graphs.folded(tmp_path / "m")
    assert dims(completed(directory, "optimization { graph { level: 2 } }").output) == {"y": [-1]}


def test_a_graph_whose_rows_depend_on_values_is_completed_without_batching(tmp_path, caplog):
    config = completed(graphs.detections(tmp_path))
    assert config.max_batch_size == 0
    assert dims((*config.input, *config.output)) == {"x": [-1, 4], "dets": [-1, 2]}
    assert "runs without batching: the rows of output 'dets' are not those of the inputs" in caplog.text


def test_batching_of_such_a_graph_is_refused_with_the_reason(tmp_path):
    with pytest.raises(SlipwayError, match="the rows of output 'dets' are not those of the inputs") as caught:
        completed(graphs.detections(tmp_path), "max_batch_size: 8")
    assert caught.value.problems[0].fix == "set max_batch_size: 0 and write the whole shape into dims"


def test_other_names_for_the_rows_of_an_output_do_not_keep_it_from_batching(tmp_path):
    shape = ["rows", 4]
    nodes = [("Relu", ["x"], ["y"])]
    graphs.write(tmp_path, nodes, [("x", FLOAT, shape)], [("y", FLOAT, ["Relu_dim_0", 4])])
    assert completed(tmp_path).max_batch_size == 4


def test_inputs_with_rows_of_their_own_are_not_batched(tmp_path):
    nodes = [("ReduceSum", ["b"], ["total"]), ("Add", ["a", "total"], ["y"])]
    inputs = [("a", FLOAT, ["queries", 1]), ("b", FLOAT, ["boxes", 1])]
    graphs.write(tmp_path, nodes, inputs, [("y", FLOAT, ["queries", 1])])
    assert completed(tmp_path).max_batch_size == 0


def test_inputs_whose_rows_only_have_different_names_are_batched(tmp_path):
    inputs = [("a", FLOAT, ["rows_a", 2]), ("b", FLOAT, ["rows_b", 2])]
    graphs.write(tmp_path, [("Concat1", ["a", "b"], ["y"])], inputs, [("y", FLOAT, ["rows_a", 4])])
    assert completed(tmp_path).max_batch_size == 4


def test_an_output_without_a_shape_gets_the_one_it_has(tmp_path):
    nodes = [("Relu", ["x"], ["y"])]
    directory = graphs.write(tmp_path, nodes, [("x", FLOAT, ["n", 3])], [("y", FLOAT, None)])
    assert dims(completed(directory).output) == {"y": [3]}


def test_an_input_without_a_shape_has_to_be_declared(tmp_path):
    directory = graphs.identity(tmp_path / "m", FLOAT, shape=None)
    with pytest.raises(SlipwayError, match="the shape of input 'x', so it must be declared") as caught:
        completed(directory)
    assert {problem.rule for problem in caught.value.problems} == {Rule.DIMS_UNKNOWN}
    assert 'declare every input, this one as { name: "x" data_type: TYPE_FP32 dims: [ ... ] }' in str(
        caught.value.problems[0].fix
    )
    tensors = ('input { name: "x"', 'output { name: "y"')
    text = "".join(f"{tensor} data_type: TYPE_FP32 dims: [ -1, 2 ] }} " for tensor in tensors)
    executor = open_instance(OnnxRuntimeBackend().load(context(directory, text)))
    assert infer(executor, {"x": np.ones((1, 2), np.float32)})["y"].shape == (1, 2)


def test_a_scalar_is_distinguished_from_a_tensor_without_a_shape(tmp_path):
    graphs.write(tmp_path, [("Mul", ["x", "k"], ["y"])], [("x", FLOAT, [2]), ("k", FLOAT, [])], [("y", FLOAT, [2])])
    assert dims(completed(tmp_path).input) == {"x": [2], "k": [1]}
