"""Graphs as packages ship them: rows without a second dim, scalars, no shapes, pixels, dependent rows."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.drafting.draft import draft_config
from slipway.errors import SlipwayError
from slipway.lint.check import check_repository
from slipway.lint.finding import Severity
from slipway.machine import Machine
from tests.kits import onnx_graphs as graphs

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
MACHINE = Machine(cpus=4, gpus=0)


def converted(tmp_path, path, engine="onnxruntime", **changes):
    return convert(path, ConvertOptions("m", tmp_path / "models", engine, "fp32", lengths=(8,), **changes))


def config(tmp_path):
    return text_format.Parse((tmp_path / "models/m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def answer(tmp_path, **inputs):
    with open_model(tmp_path / "models" / "m") as model:
        return model.run(inputs)


def graph_of(tmp_path, nodes, inputs, outputs, initializers=()):
    return graphs.write(tmp_path / "source", nodes, inputs, outputs, initializers) / "1" / "model.onnx"


def rows_alone(tmp_path):
    """Y = sum of x's row + b, both without a second dim."""
    nodes = [("ReduceSum", ["x", "axes"], ["s"]), ("Squeeze", ["s", "axes"], ["sums"]), ("Add", ["sums", "b"], ["y"])]
    axes = graphs.weights("axes", np.array([1]))
    return graph_of(tmp_path, nodes, [("x", FLOAT, ["n", 4]), ("b", FLOAT, ["n"])], [("y", FLOAT, ["n"])], [axes])


def loop_count(tmp_path):
    inputs = [("x", FLOAT, ["n", 2]), ("k", INT64, [])]
    return graph_of(tmp_path, [("Cast1", ["k"], ["c"]), ("Mul", ["x", "c"], ["y"])], inputs, [("y", FLOAT, None)])


def described(config):
    return [
        (each.name, each.data_type, list(each.dims), each.HasField("reshape"))
        for each in (*config.input, *config.output)
    ]


@pytest.mark.parametrize("write", [rows_alone, loop_count, lambda path: graphs.detections(path / "s") / "1/model.onnx"])
def test_a_conversion_declares_what_config_create_declares(tmp_path, write):
    path = write(tmp_path)
    converted(tmp_path, path)
    drafted = draft_config(path, MACHINE).config
    assert described(config(tmp_path)) == described(drafted)
    assert (config(tmp_path).max_batch_size > 0) == (drafted.max_batch_size > 0)
    findings = check_repository(tmp_path / "models", MACHINE).findings
    assert [finding for finding in findings if finding.severity is not Severity.HINT] == []


def test_a_tensor_of_rows_alone_has_one_element_a_row(tmp_path):
    converted(tmp_path, rows_alone(tmp_path))
    given = answer(tmp_path, x=np.ones((3, 4), np.float32), b=np.array([[0], [1], [2]], np.float32))
    np.testing.assert_allclose(given["y"], [[4], [5], [6]])


def test_rows_that_depend_on_values_are_not_batched_and_the_report_says_so(tmp_path):
    conversion = converted(tmp_path, graphs.detections(tmp_path / "source") / "1/model.onnx")
    assert config(tmp_path).max_batch_size == 0
    assert any(
        "without batching (max_batch_size: 0): the rows of output 'dets'" in note for note in conversion.report.notes
    )
    assert answer(tmp_path, x=np.array([[1, 0, 1, 0]], np.float32))["dets"].tolist() == [[0, 0], [0, 2]]


def test_the_range_of_integers_is_guessed_and_that_is_said(tmp_path):
    conversion = converted(tmp_path, loop_count(tmp_path))
    [note] = conversion.report.notes
    assert note.startswith("the range of input 'k' (INT64) is unknown, so it was compared only on 0 and 1")
    assert "--input k:INT64:DIMS:LIMIT" in note


def test_a_graph_without_shapes_is_converted_with_declared_dims_or_a_sample(tmp_path):
    path = graph_of(tmp_path, [("Relu", ["x"], ["y"])], [("x", FLOAT, None)], [("y", FLOAT, None)])
    with pytest.raises(SlipwayError, match=r"the shape of input 'x'.*--input x:FP32:DIMS .* --sample FILE\.npz"):
        converted(tmp_path, path)
    converted(tmp_path, path, inputs=("x:FP32:-1,4",))
    assert (config(tmp_path).max_batch_size, list(config(tmp_path).input[0].dims)) == (16, [4])
    np.savez(tmp_path / "sample.npz", x=np.ones((3, 5), np.float32))
    converted(tmp_path, path, sample=tmp_path / "sample.npz", overwrite=True)
    assert answer(tmp_path, x=np.full((2, 7), -1, np.float32))["y"].tolist() == np.zeros((2, 7)).tolist()


def picture(tmp_path, stride):
    """Rows of 3 x h x w, which have to be multiples of the stride: halves of them are joined again."""
    kernel = graphs.weights("w", np.ones((3, 3, stride, stride), np.float32))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["small"], strides=[stride, stride]),
        helper.make_node("ConvTranspose", ["small", "w"], ["large"], strides=[stride, stride]),
        helper.make_node("Add", ["x", "large"], ["y"]),
    ]
    shape = ["n", 3, "h", "w"]
    tensors = [helper.make_tensor_value_info(name, FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], [kernel])
    path = tmp_path / "picture.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_sizes_that_a_graph_takes_are_found_by_trying(tmp_path):
    conversion = converted(tmp_path, picture(tmp_path, 16))
    assert config(tmp_path).max_batch_size == 16
    assert [list(each.dims) for each in config(tmp_path).input] == [[3, -1, -1]]
    assert "compared and measured with 16, 32, 64 in its variable dims" in conversion.report.notes[0]


def test_if_all_made_up_inputs_fail_the_error_suggests_a_sample(tmp_path):
    path = picture(tmp_path, 7 * 11)  # no usual side is a multiple
    with pytest.raises(SlipwayError, match=r"every size that was tried: give typical inputs with --sample FILE\.npz"):
        converted(tmp_path, path)
    np.savez(tmp_path / "sample.npz", x=np.random.default_rng(0).random((2, 3, 77, 154), np.float32))
    conversion = converted(tmp_path, path, sample=tmp_path / "sample.npz")
    assert conversion.report.notes == []
    assert [list(each.dims) for each in config(tmp_path).output] == [[3, -1, -1]]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"z": np.zeros(3)}, "lacks 'x': it needs an array for each input"),
        ({"x": np.zeros((2, 3, 16, 16))}, "'x' is FP64, but the model takes FP32"),
        (
            {"x": np.zeros((2, 16, 16), np.float32)},
            r"'x' has shape \[2, 16, 16\], but the model takes \[-1, 3",
        ),
        ({"x": np.zeros((2, 3, 5, 5), np.float32)}, "the model fails on it: onnx runtime error"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_with_what_does_not(tmp_path, arrays, problem):
    np.savez(tmp_path / "sample.npz", **arrays)
    with pytest.raises(SlipwayError, match=problem):
        converted(tmp_path, picture(tmp_path, 16), sample=tmp_path / "sample.npz")


def test_one_axis_may_have_the_channels_of_pictures(tmp_path):
    kernel = graphs.weights("w", np.ones((2, 3, 4, 4), np.float32))
    path = graph_of(
        tmp_path,
        [("Conv", ["x", "w"], ["y"])],
        [("x", FLOAT, ["n", "c", "h", "w"])],
        [("y", FLOAT, ["n", 2, "a", "b"])],
        [kernel],
    )
    converted(tmp_path, path)
    assert answer(tmp_path, x=np.ones((1, 3, 5, 6), np.float32))["y"].shape == (1, 2, 2, 3)


def test_a_dynamically_quantised_graph_is_written_without_batching_and_says_why(tmp_path):
    nodes = [
        ("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        ("MatMulInteger", ["q", "w", "zero"], ["product"]),
        ("Cast1", ["product"], ["floats"]),
        ("Mul", ["floats", "scale"], ["y"]),
    ]
    weights = graphs.weights("w", np.random.default_rng(0).integers(-9, 9, (8, 3)).astype(np.int8))
    path = graph_of(tmp_path, nodes, [("x", FLOAT, ["n", 8])], [("y", FLOAT, ["n", 3])], [weights])
    conversion = converted(tmp_path, path)
    assert config(tmp_path).max_batch_size == 0
    assert "depend on the other rows of its batch: it is quantised dynamically" in conversion.report.notes[0]
    rows = np.random.default_rng(1).random((3, 8), np.float32)
    expected = onnxruntime.InferenceSession(path).run(None, {"x": rows})[0]
    np.testing.assert_allclose(answer(tmp_path, x=rows)["y"], expected, atol=1e-5)
