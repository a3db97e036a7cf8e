"""Real OpenVINO models, made of tiny ONNX graphs."""

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto

from slipway.backends.api import Placement
from slipway.backends.openvino.backend import OpenVinoBackend
from slipway.datatypes import BY_NAME
from slipway.errors import Code, FailureReason, SlipwayError
from slipway.instances.execution import execute
from tests.backends.models import arrays, infer, open_instance, pending
from tests.backends.openvino.models import completed, load, parameter, to_ir
from tests.kits import onnx_graphs as graphs

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
NUMBERS = {name: row for name, row in BY_NAME.items() if name != "BYTES"}


@pytest.mark.parametrize("row", NUMBERS.values(), ids=NUMBERS)
def test_every_datatype_of_numbers_passes_through_a_graph(tmp_path, row):
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, graphs.ELEMENTS[row.name]))))
    values = np.array([[0, 1], [1, 0]]).astype(row.numpy)
    for array in (values, values[:, :0], values.T):
        answer = infer(executor, {"x": array})["y"]
        assert answer.dtype == row.numpy
        assert answer.shape == array.shape
        assert (answer == array).all()


def test_strings_are_refused_with_the_backend_that_takes_them(tmp_path):
    directory = graphs.identity(tmp_path, TensorProto.STRING)
    with pytest.raises(SlipwayError, match="for string inputs or outputs, use the backend onnxruntime"):
        load(directory, file="model.onnx")


def test_batches_equal_numpy_row_by_row(tmp_path):
    executor = open_instance(load(to_ir(graphs.two_outputs(tmp_path))))
    random = np.random.default_rng(0)
    inputs = [{name: random.random((rows, 2), np.float32) for name in "ab"} for rows in (1, 2, 1)]
    batch = [pending(given, rows=len(given["a"])) for given in inputs]
    for given, response in zip(inputs, execute(executor, batch, "m_0_0").responses, strict=True):
        answer = arrays(response)
        assert np.array_equal(answer["sum"], given["a"] + given["b"])
        assert np.array_equal(answer["product"], given["a"] * given["b"])


def test_an_answer_is_not_overwritten_by_the_next_one(tmp_path):
    executor = open_instance(load(to_ir(graphs.two_outputs(tmp_path))))
    ones, twos = (np.full((1, 2), value, np.float32) for value in (1, 2))
    first = infer(executor, {"a": ones, "b": ones})
    infer(executor, {"a": twos, "b": twos})
    gc.collect()
    assert first["sum"].tolist() == [[2, 2]]


def test_only_the_outputs_asked_for_are_given(tmp_path):
    executor = open_instance(load(to_ir(graphs.two_outputs(tmp_path))))
    ones = np.ones((1, 2), np.float32)
    assert list(infer(executor, {"a": ones, "b": ones}, ("product",))) == ["product"]


def test_views_of_received_bytes_are_read_wherever_they_lie(tmp_path):
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, FLOAT))))
    received = b"x" + np.array([[1, 2]], np.float32).tobytes()
    array = np.frombuffer(received, np.float32, offset=1).reshape(1, 2)
    assert infer(executor, {"x": array})["y"].tolist() == [[1, 2]]


def test_scalars_travel_as_one_element(tmp_path):
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, FLOAT, []))))
    assert infer(executor, {"x": np.array([3], np.float32)})["y"].tolist() == [3]


def test_rows_of_scalars_travel_as_rows_of_one_element(tmp_path):
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, FLOAT, ["n"]))))
    assert infer(executor, {"x": np.array([[3], [4]], np.float32)})["y"].tolist() == [[3], [4]]


def test_all_instances_share_one_compiled_model_and_run_at_the_same_time(tmp_path):
    model = load(to_ir(graphs.two_outputs(tmp_path)), "instance_group { count: 4 kind: KIND_CPU }")
    assert model.placement is Placement.THREAD
    executors = [open_instance(model, index) for index in range(4)]

    def sums(index):
        given = np.full((1, 2), index, np.float32)
        return [infer(executors[index], {"a": given, "b": given})["sum"].tolist() for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sums, range(4))) == [[[[2 * index, 2 * index]]] * 100 for index in range(4)]


def test_unloading_lets_the_compiled_model_go(tmp_path):
    model = load(to_ir(graphs.identity(tmp_path, FLOAT)))
    executor = open_instance(model)
    executor.close()
    model.unload()
    with pytest.raises(SlipwayError, match="unloaded"):
        open_instance(model)


def test_an_onnx_file_is_read_where_the_configuration_names_it(tmp_path):
    executor = open_instance(load(graphs.identity(tmp_path, FLOAT), file="model.onnx"))
    assert infer(executor, {"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[1, 1]]


def test_integers_that_would_be_cut_to_32_bits_are_refused(tmp_path):
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, INT64))))
    batch = [pending({"x": np.array([[value]])}) for value in (2**31, 2**31 - 1, -(2**31))]
    large, *others = execute(executor, batch, "m_0_0").responses
    assert large.error.code is Code.INVALID_ARG
    assert "which OpenVINO would cut to 32 bits" in large.error.message
    assert [arrays(other)["y"].tolist() for other in others] == [[[2**31 - 1]], [[-(2**31)]]]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_input_that_the_graph_refuses_fails_its_own_request_only(tmp_path, threads):
    weights = graphs.weights("w", np.array([1, 2], np.float32))
    inputs, outputs = [("x", FLOAT, ["n", "m"])], [("y", FLOAT, ["n", 2])]
    directory = graphs.write(tmp_path, [("Add", ["x", "w"], ["y"])], inputs, outputs, [weights])
    text = 'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [-1] } '
    executor = open_instance(load(to_ir(directory), text, threads=threads))
    with pytest.raises(SlipwayError) as caught:
        infer(executor, {"x": np.ones((1, 3), np.float32)})
    assert caught.value.code is Code.INTERNAL
    assert caught.value.reason is FailureReason.BACKEND
    assert caught.value.message.startswith("OpenVINO: [CPU] Add node with name 'y' ")
    assert "src/" not in caught.value.message
    assert infer(executor, {"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2, 3]]


@pytest.mark.parametrize("count", [1, 2])
def test_a_request_that_the_graph_refuses_leaves_no_trace_in_the_next_ones(tmp_path, count):
    vectors = [(name, FLOAT, ["rows", name]) for name in "ab"]
    nodes = [
        ("Mul", ["a", "b"], ["kept"]),
        ("ReduceSum", ["b", "axes"], ["count"]),
        ("ReduceSum", ["kept", "axes"], ["total"]),
        ("Div", ["total", "count"], ["y"]),
    ]
    axes = graphs.weights("axes", np.array([1], np.int64))
    directory = graphs.write(tmp_path, nodes, vectors, [("y", FLOAT, ["rows", 1])], [axes])
    dims = " ".join(f'input {{ name: "{name}" data_type: TYPE_FP32 dims: [ -1 ] }}' for name in "ab")
    loaded = load(
        directory, f"max_batch_size: 8 instance_group {{ count: {count} kind: KIND_CPU }} {dims}", file="model.onnx"
    )
    executors = [open_instance(loaded, index) for index in range(count)]
    for step in range(24):
        executor = executors[step % count]
        good = {name: np.full((1 + step % 3, 3 + step % 2), 2, np.float32) for name in "ab"}
        assert (infer(executor, good)["y"] == 2).all()
        with pytest.raises(SlipwayError, match="OpenVINO"):
            infer(executor, {"a": good["a"], "b": np.ones((1 + step % 3, 6), np.float32)})
        assert (infer(executor, good)["y"] == 2).all()


def test_a_fixed_first_dimension_takes_batches_of_any_size(tmp_path):
    directory = to_ir(graphs.identity(tmp_path, FLOAT, [1, 2]))
    executor = open_instance(load(directory, "max_batch_size: 8"))
    assert infer(executor, {"x": np.ones((3, 2), np.float32)})["y"].shape == (3, 2)


FIXED = "max_batch_size: 4 " + parameter("SKIP_OV_DYNAMIC_BATCHSIZE", "YES")


def test_a_batch_size_that_must_stay_fixed_refuses_others(tmp_path):
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, FLOAT, [4, 2])), FIXED))
    assert infer(executor, {"x": np.ones((4, 2), np.float32)})["y"].shape == (4, 2)
    with pytest.raises(SlipwayError, match="expected requests with batch size '4', got '3'"):
        infer(executor, {"x": np.ones((3, 2), np.float32)})


def test_a_batch_size_that_must_stay_fixed_can_be_filled_up(tmp_path):
    text = FIXED + parameter("ENABLE_BATCH_PADDING", "yes")
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, FLOAT, [4, 2])), text))
    batch = [pending({"x": np.full((rows, 2), rows, np.float32)}, rows=rows) for rows in (1, 2)]
    first, second = (arrays(response)["y"].tolist() for response in execute(executor, batch, "m_0_0").responses)
    assert (first, second) == ([[1, 1]], [[2, 2], [2, 2]])


def test_input_shapes_can_be_replaced_by_the_declared_ones(tmp_path):
    io = '{{ name: "{}" data_type: TYPE_FP32 dims: [-1, -1] }}'
    text = f"input {io.format('x')} output {io.format('y')} " + parameter("RESHAPE_IO_LAYERS", "yes")
    executor = open_instance(load(to_ir(graphs.identity(tmp_path, FLOAT, [1, 2])), text))
    assert infer(executor, {"x": np.ones((3, 5), np.float32)})["y"].shape == (3, 5)


def test_shapes_that_the_graph_cannot_take_fail_the_load(tmp_path):
    shape = graphs.weights("w", np.ones((2, 2), np.float32))
    directory = graphs.write(
        tmp_path, [("MatMul", ["x", "w"], ["y"])], [("x", FLOAT, [1, 2])], [("y", FLOAT, [1, 2])], [shape]
    )
    io = '{{ name: "{}" data_type: TYPE_FP32 dims: [1, {}] }}'
    text = f"input {io.format('x', 3)} output {io.format('y', 2)} " + parameter("RESHAPE_IO_LAYERS", "yes")
    with pytest.raises(SlipwayError, match=r"the graph cannot be reshaped to the input shapes 'x' \[1, 3\]") as caught:
        load(to_ir(directory), text)
    assert caught.value.code is Code.INVALID_ARG


def test_inputs_outputs_and_batching_come_from_the_graph(tmp_path):
    config = completed(to_ir(graphs.two_outputs(tmp_path)))
    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    assert [(each.name, list(each.dims)) for each in config.input] == [("a", [2]), ("b", [2])]
    assert [(each.name, list(each.dims)) for each in config.output] == [("sum", [2]), ("product", [2])]


def test_a_configuration_with_inputs_and_outputs_is_left_alone_without_reading_the_file(tmp_path):
    text = 'input { name: "q" data_type: TYPE_FP32 dims: [9] } output { name: "r" data_type: TYPE_FP32 dims: [9] }'
    assert completed(tmp_path, text).input[0].name == "q"


def test_a_configuration_that_contradicts_the_graph_fails_the_load(tmp_path):
    text = 'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [-1] } '
    with pytest.raises(SlipwayError, match="unexpected inference output 'z', allowed outputs are: y") as caught:
        load(to_ir(graphs.identity(tmp_path, FLOAT)), text + 'output { name: "z" data_type: TYPE_FP32 dims: [-1] }')
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize("way", ["garbage", "no weights", "half the weights"])
def test_a_broken_file_is_reported_without_its_path(tmp_path, way):
    table = graphs.weights("w", np.ones((64, 64), np.float32))
    io = [("x", FLOAT, ["n", 64])], [("y", FLOAT, ["n", 64])]
    directory = to_ir(graphs.write(tmp_path, [("MatMul", ["x", "w"], ["y"])], *io, [table]))
    text = str(completed(directory))
    if way == "garbage":
        (directory / "1" / "model.xml").write_bytes(b"garbage")
    elif way == "no weights":
        (directory / "1" / "model.bin").unlink()
    else:
        (directory / "1" / "model.bin").write_bytes(b"x" * 100)
    with pytest.raises(SlipwayError) as caught:
        load(directory, text)
    assert caught.value.code is Code.INTERNAL
    assert caught.value.message.startswith("unable to load model 'm': ")
    assert str(tmp_path) not in caught.value.message
    assert "src/" not in caught.value.message


def test_a_file_that_is_overwritten_while_it_serves_changes_nothing(tmp_path):
    table = graphs.weights("w", np.eye(64, dtype=np.float32))
    io = [("x", FLOAT, ["n", 64])], [("y", FLOAT, ["n", 64])]
    directory = to_ir(graphs.write(tmp_path, [("MatMul", ["x", "w"], ["y"])], *io, [table]))
    executor = open_instance(load(directory))
    (directory / "1" / "model.bin").write_bytes(b"")
    for rows in (1, 2):
        x = np.random.default_rng(rows).random((rows, 64), np.float32)
        assert np.array_equal(infer(executor, {"x": x})["y"], x)


@pytest.mark.parametrize("way", ["../secret.bin", "absolute", "link.bin"])
def test_external_data_outside_the_model_is_refused_without_telling_paths(tmp_path, way):
    secret = tmp_path / "secret.bin"
    np.zeros(1024, np.float32).tofile(secret)
    location = str(secret) if way == "absolute" else way
    tensor = graphs.external_weights("w", [1024], location)
    io = [("x", FLOAT, ["n", 1024])], [("y", FLOAT, ["n", 1024])]
    directory = graphs.write(tmp_path / "m", [("Add", ["x", "w"], ["y"])], *io, [tensor])
    (directory / "1" / "link.bin").symlink_to(secret)
    with pytest.raises(SlipwayError) as caught:
        load(directory, file="model.onnx")
    assert "External data must be a file inside the model's directory." in caught.value.message
    assert str(tmp_path) not in caught.value.message.replace(location, "")


QUIET = """
import os, socket, sys
from pathlib import Path

def refuse(*_arguments):
    raise SystemExit("a network connection was opened")

socket.socket.connect = socket.getaddrinfo = refuse
from tests.backends.openvino.models import load
from tests.backends.models import open_instance

open_instance(load(Path(sys.argv[1])))
assert not any(name.startswith("openvino_telemetry") for name, module in sys.modules.items() if module)
print(os.listdir(os.environ["HOME"]))
"""


def test_loading_sends_no_telemetry_and_leaves_no_files(tmp_path):
    directory = to_ir(graphs.identity(tmp_path / "m", FLOAT))
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", QUIET, str(directory)]
    environment = {"HOME": str(home), "PYTHONPATH": ":".join(sys.path)}
    assert subprocess.check_output(command, text=True, env=environment) == "[]\n"


def test_the_backend_is_found_without_importing_the_library():
    code = (
        "import sys; from slipway.backends.registry import find_backend; find_backend('openvino'); "
        "print('openvino' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    assert callable(OpenVinoBackend().load)
