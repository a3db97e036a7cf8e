"""What to do about a file that onnxruntime refuses is what helps: a copy of a good file is as good as the file."""

import pytest
from onnx import TensorProto, helper

from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from slipway.errors import SlipwayError
from tests.backends.models import completion, parse

FLOAT = TensorProto.FLOAT


def fix_for(tmp_path, nodes, outputs, *, opset=17, ir_version=9, domain=""):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, ["n", 2])], outputs)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SlipwayError) as caught:
        OnnxRuntimeBackend().complete(parse(""), completion(tmp_path))
    [problem] = caught.value.problems
    return problem.fix


def output(name):
    return helper.make_tensor_value_info(name, FLOAT, ["n", 2])


def test_a_zipmap_is_to_be_left_out_of_the_export(tmp_path):
    node = helper.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
    scores = helper.make_value_info("scores", helper.make_sequence_type_proto(kind))
    assert "without ZipMap" in fix_for(tmp_path, [node], [scores], domain="ai.onnx.ml")


@pytest.mark.parametrize("newer", [{"opset": 99}, {"ir_version": 99}])
def test_a_file_that_is_too_new_wants_a_newer_library_or_an_older_export(tmp_path, newer):
    fix = fix_for(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], [output("y")], **newer)
    assert fix == "upgrade onnxruntime, or export for an older opset"


def test_an_unknown_operator_wants_its_library(tmp_path):
    node = helper.make_node("Fuse", ["x"], ["y"], domain="acme")
    assert "model_operations" in fix_for(tmp_path, [node], [output("y")], domain="acme")
