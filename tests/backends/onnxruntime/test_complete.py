import numpy as np
import pytest
from onnx import TensorProto

from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from slipway.errors import Code, SlipwayError
from tests.backends.models import completion, parse
from tests.kits import onnx_graphs as graphs

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def completed(directory, text="", **settings):
    config = parse(text)
    OnnxRuntimeBackend().complete(config, completion(directory, **settings))
    return config


def test_inputs_outputs_and_batching_come_from_the_graph(tmp_path):
    assert completed(graphs.lookup(tmp_path)) == parse(
        "max_batch_size: 4 dynamic_batching {} "
        'input { name: "x" data_type: TYPE_INT64 dims: [1] } output { name: "y" data_type: TYPE_FP32 dims: [1, 2] }'
    )


def test_a_fixed_first_dimension_means_no_batching(tmp_path):
    assert completed(graphs.identity(tmp_path, FLOAT, [2, "n"])) == parse(
        'input { name: "x" data_type: TYPE_FP32 dims: [2, -1] } output { name: "y" data_type: TYPE_FP32 dims: [2, -1] }'
    )


def test_the_default_max_batch_size_is_a_setting(tmp_path):
    directory = graphs.identity(tmp_path, FLOAT)
    assert completed(directory, default_max_batch_size=16).max_batch_size == 16
    assert completed(directory, **{"default-max-batch-size": "7"}).max_batch_size == 7
    unbatched = completed(directory, default_max_batch_size=0)
    assert unbatched.max_batch_size == 0
    assert list(unbatched.input[0].dims) == [-1, -1]


def test_batch_size_one_gets_no_dynamic_batcher(tmp_path):
    config = completed(graphs.identity(tmp_path, FLOAT), "max_batch_size: 1")
    assert config.WhichOneof("scheduling_choice") is None


def test_a_given_scheduler_is_kept(tmp_path):
    config = completed(graphs.identity(tmp_path, FLOAT), "max_batch_size: 2 sequence_batching {}")
    assert config.WhichOneof("scheduling_choice") == "sequence_batching"


def test_a_tensor_of_rows_only_is_reshaped_to_one_element(tmp_path):
    config = completed(graphs.identity(tmp_path, FLOAT, ["n"]))
    assert list(config.input[0].dims) == [1]
    assert config.input[0].HasField("reshape")
    assert list(config.input[0].reshape.shape) == []


def test_a_scalar_of_a_model_without_batching_has_one_element(tmp_path):
    config = completed(graphs.identity(tmp_path, FLOAT, []))
    assert config.max_batch_size == 0
    assert list(config.output[0].dims) == [1]
    assert not config.output[0].HasField("reshape")


def test_only_the_missing_side_is_filled(tmp_path):
    config = completed(graphs.two_outputs(tmp_path), 'output { name: "sum" data_type: TYPE_FP32 dims: [2] }')
    assert [declared.name for declared in config.input] == ["a", "b"]
    assert [declared.name for declared in config.output] == ["sum"]


def test_a_configuration_with_inputs_and_outputs_is_left_alone_without_reading_the_file(tmp_path):
    text = 'input { name: "q" data_type: TYPE_FP32 dims: [9] } output { name: "r" data_type: TYPE_FP32 dims: [9] }'
    assert completed(tmp_path, text) == parse(text)


def test_batching_asked_of_a_graph_without_is_a_conflict(tmp_path):
    with pytest.raises(SlipwayError) as caught:
        completed(graphs.identity(tmp_path, FLOAT, [1, 2]), "max_batch_size: 8")
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == (
        "autofill failed for model 'm': model does not support batching while non-zero max_batch_size is specified"
    )


def test_overridable_initializers_are_not_filled_in(tmp_path):
    default = graphs.weights("b", np.ones(2, np.float32))
    inputs = [("a", FLOAT, ["n", 2]), ("b", FLOAT, [2])]
    directory = graphs.write(tmp_path, [("Add", ["a", "b"], ["y"])], inputs, [("y", FLOAT, ["n", 2])], [default])
    assert [declared.name for declared in completed(directory).input] == ["a"]


def test_a_graph_of_sequences_is_refused(tmp_path):
    directory = graphs.write(tmp_path, [("SequenceConstruct", ["x"], ["s"])], [("x", FLOAT, ["n"])], [])
    path = directory / "1" / "model.onnx"
    model = graphs.onnx.load(path)
    model.graph.output.append(graphs.helper.make_tensor_sequence_value_info("s", FLOAT, ["n"]))
    graphs.onnx.save(model, path)
    with pytest.raises(SlipwayError) as caught:
        completed(directory)
    assert caught.value.code is Code.UNSUPPORTED
    assert caught.value.message == (
        "Unsupported ONNX Type 'ONNX_TYPE_SEQUENCE' for I/O 's', expected 'ONNX_TYPE_TENSOR'."
    )


def test_a_missing_file_is_unavailable_and_its_directory_is_not_shown(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(SlipwayError) as caught:
        completed(tmp_path)
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message.startswith("unable to find '1/model.onnx' for model instance 'm'")
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("name", ["../../secret.onnx", "/etc/passwd"])
def test_a_file_name_cannot_leave_the_version_directory(tmp_path, name):
    with pytest.raises(SlipwayError, match="leaves the version directory"):
        completed(tmp_path, f'default_model_filename: "{name}"')
