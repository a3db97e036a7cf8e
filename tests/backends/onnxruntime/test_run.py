import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from slipway.backends.api import Placement
from slipway.backends.onnxruntime import backend, options
from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from slipway.backends.onnxruntime.session import open_session
from slipway.datatypes import BY_NAME
from slipway.errors import Code, FailureReason, SlipwayError
from slipway.instances.execution import execute
from tests.backends.models import arrays, completion, context, infer, open_instance, parse, pending
from tests.kits import onnx_graphs as graphs

FLOAT = TensorProto.FLOAT


def load(directory, text=None, **settings):
    """Load with `text`, or with the configuration that the graph completes."""
    if text is None:
        config = parse("")
        OnnxRuntimeBackend().complete(config, completion(directory))
        text = str(config)
    return OnnxRuntimeBackend().load(context(directory, text, **settings))


@pytest.mark.parametrize("row", BY_NAME.values(), ids=BY_NAME)
def test_every_datatype_passes_through_a_graph(tmp_path, row):
    executor = open_instance(load(graphs.identity(tmp_path, graphs.ELEMENTS[row.name])))
    if row.name == "BYTES":
        values = np.array([["ä".encode(), b""], [b"a\x00b", b"c"]], object)
    else:
        values = np.array([[0, 1], [1, 0]]).astype(row.numpy)
    for array in (values, values[:, :0]):
        answer = infer(executor, {"x": array})["y"]
        assert answer.dtype == row.numpy
        assert answer.shape == array.shape
        assert (answer == array).all()


def test_batches_equal_numpy_row_by_row(tmp_path):
    executor = open_instance(load(graphs.two_outputs(tmp_path)))
    random = np.random.default_rng(0)
    inputs = [{name: random.random((rows, 2), np.float32) for name in "ab"} for rows in (1, 2, 1)]
    batch = [pending(given, rows=len(given["a"])) for given in inputs]
    for given, response in zip(inputs, execute(executor, batch, "m_0_0").responses, strict=True):
        answer = arrays(response)
        assert np.array_equal(answer["sum"], given["a"] + given["b"])
        assert np.array_equal(answer["product"], given["a"] * given["b"])


def test_batch_mates_survive_a_row_that_the_graph_refuses(tmp_path):
    executor = open_instance(load(graphs.lookup(tmp_path)))
    batch = [pending({"x": np.array([[index]])}) for index in (0, 9, 2)]
    first, culprit, last = execute(executor, batch, "m_0_0").responses
    assert arrays(first)["y"].tolist() == [[[0, 1]]]
    assert arrays(last)["y"].tolist() == [[[4, 5]]]
    assert culprit.error.code is Code.INTERNAL
    assert culprit.error.reason is FailureReason.BACKEND
    assert culprit.error.message.startswith("onnx runtime error 2: Non-zero status code returned while running Gather")
    assert "onnxruntime_src" not in culprit.error.message


def test_a_string_that_is_not_utf8_is_the_fault_of_its_own_request(tmp_path):
    executor = open_instance(load(graphs.identity(tmp_path, TensorProto.STRING)))
    batch = [pending({"x": np.array([[value]], object)}) for value in (b"good", b"\xff")]
    good, bad = execute(executor, batch, "m_0_0").responses
    assert arrays(good)["y"].tolist() == [[b"good"]]
    assert bad.error.message == "input 'x' of model 'm' has a string that is not valid UTF-8"


def test_scalars_travel_as_one_element(tmp_path):
    executor = open_instance(load(graphs.identity(tmp_path, FLOAT, [])))
    assert infer(executor, {"x": np.array([3], np.float32)})["y"].tolist() == [3]


def test_rows_of_scalars_travel_as_rows_of_one_element(tmp_path):
    executor = open_instance(load(graphs.identity(tmp_path, FLOAT, ["n"])))
    assert infer(executor, {"x": np.array([[3], [4]], np.float32)})["y"].tolist() == [[3], [4]]


def test_an_optional_input_replaces_an_initializer(tmp_path):
    default = graphs.weights("b", np.array([1, 2], np.float32))
    inputs = [("a", FLOAT, [2]), ("b", FLOAT, [2])]
    directory = graphs.write(tmp_path, [("Add", ["a", "b"], ["y"])], inputs, [("y", FLOAT, [2])], [default])
    text = (
        'input { name: "a" data_type: TYPE_FP32 dims: [2] } '
        'input { name: "b" data_type: TYPE_FP32 dims: [2] optional: true } '
        'output { name: "y" data_type: TYPE_FP32 dims: [2] }'
    )
    executor = open_instance(load(directory, text))
    a = np.array([10, 20], np.float32)
    assert infer(executor, {"a": a})["y"].tolist() == [11, 22]
    assert infer(executor, {"a": a, "b": np.zeros(2, np.float32)})["y"].tolist() == [10, 20]


def test_all_instances_share_one_session_and_run_at_the_same_time(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(backend, "open_session", lambda *args: opened.append(args) or open_session(*args))
    directory = graphs.two_outputs(tmp_path)
    config = parse("instance_group { count: 4 kind: KIND_CPU }")
    OnnxRuntimeBackend().complete(config, completion(directory))
    opened.clear()
    model = load(directory, str(config))
    executors = [open_instance(model, index) for index in range(4)]
    assert len(opened) == 1
    assert model.placement is Placement.THREAD
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float32)}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda index: infer(executors[index % 4], inputs)["sum"].tolist(), range(200)))
    assert answers == [[[2, 2]]] * 200


def test_unloading_frees_the_session(tmp_path):
    model = load(graphs.identity(tmp_path, FLOAT))
    executor = open_instance(model)
    executor.close()
    model.unload()
    with pytest.raises(SlipwayError, match="unloaded"):
        open_instance(model)


def test_a_directory_holds_the_graph_and_its_external_data(tmp_path):
    values = np.arange(1024, dtype=np.float32)
    tensor = graphs.external_weights("w", [1024], "w.bin")
    inputs, outputs = [("x", FLOAT, ["n", 1024])], [("y", FLOAT, ["n", 1024])]
    graphs.write(tmp_path, [("Add", ["x", "w"], ["y"])], inputs, outputs, [tensor], file="1/model.onnx/model.onnx")
    values.tofile(tmp_path / "1" / "model.onnx" / "w.bin")
    answer = infer(open_instance(load(tmp_path)), {"x": np.zeros((1, 1024), np.float32)})["y"]
    assert np.array_equal(answer[0], values)


@pytest.mark.parametrize("way", ["../secret.bin", "absolute", "link.bin"])
def test_external_data_outside_the_model_is_refused_without_telling_paths(tmp_path, way):
    secret = tmp_path / "secret.bin"
    np.zeros(1024, np.float32).tofile(secret)
    location = str(secret) if way == "absolute" else way
    tensor = graphs.external_weights("w", [1024], location)
    inputs, outputs = [("x", FLOAT, ["n", 1024])], [("y", FLOAT, ["n", 1024])]
    directory = graphs.write(tmp_path / "m", [("Add", ["x", "w"], ["y"])], inputs, outputs, [tensor])
    (directory / "1" / "link.bin").symlink_to(secret)
    with pytest.raises(SlipwayError) as caught:
        load(directory)
    assert "External data must be a file inside the model's directory." in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_broken_file_is_reported_without_its_path(tmp_path):
    graphs.identity(tmp_path, FLOAT)
    (tmp_path / "1" / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(SlipwayError) as caught:
        load(tmp_path)
    assert caught.value.message.startswith("unable to load model 'm': onnx runtime error 7: Load model from model.onnx")
    assert str(tmp_path) not in caught.value.message


def test_a_configuration_that_contradicts_the_graph_fails_the_load(tmp_path):
    directory = graphs.lookup(tmp_path)
    text = 'max_batch_size: 4 input { name: "x" data_type: TYPE_INT64 dims: [1] } '
    with pytest.raises(SlipwayError, match="unexpected inference output 'z', allowed outputs are: y"):
        load(directory, text + 'output { name: "z" data_type: TYPE_FP32 dims: [1,2] }')


def session_options(tmp_path, text="", **given):
    return options.session_options(context(tmp_path, text, **given))


def parameter(key, value):
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }} '


@pytest.mark.parametrize(("level", "name"), [(0, "ALL"), (-1, "BASIC"), (1, "EXTENDED"), (2, None)])
def test_graph_levels_are_tritons(tmp_path, level, name):
    wanted = f"ORT_ENABLE_{name}" if name else "ORT_DISABLE_ALL"
    made = session_options(tmp_path, f"optimization {{ graph {{ level: {level} }} }}")
    assert made.graph_optimization_level == getattr(onnxruntime.GraphOptimizationLevel, wanted)


@pytest.mark.parametrize(("threads", "instances", "pool"), [(2, 1, 2), (1, 2, 2), (4, 4, 16)])
def test_a_lone_request_may_use_the_share_of_all_instances(tmp_path, threads, instances, pool):
    made = session_options(tmp_path, f"instance_group {{ count: {instances} }}", threads=threads)
    assert made.intra_op_num_threads == pool


def test_several_instances_do_not_spin(tmp_path):
    for count, spins in ((1, "1"), (2, "0")):
        made = session_options(tmp_path, f"instance_group {{ count: {count} }}")
        assert made.get_session_config_entry("session.intra_op.allow_spinning") == spins
        assert made.get_session_config_entry("session.force_spinning_stop") == "1"


def test_parameters_of_the_model_win_over_the_backends_settings(tmp_path):
    text = parameter("intra_op_thread_count", 3) + parameter("session.intra_op.allow_spinning", 0)
    made = session_options(tmp_path, text, intra_op_thread_count="5", inter_op_thread_count="6")
    assert (made.intra_op_num_threads, made.inter_op_num_threads) == (3, 6)
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_memory_and_execution_mode_are_parameters(tmp_path):
    text = parameter("enable_mem_arena", 0) + parameter("enable_mem_pattern", "false") + parameter("execution_mode", 1)
    made = session_options(tmp_path, text)
    assert not made.enable_cpu_mem_arena
    assert not made.enable_mem_pattern
    assert made.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL


@pytest.mark.parametrize("text", [parameter("execution_mode", 2), parameter("intra_op_thread_count", "many")])
def test_a_value_that_makes_no_sense_fails_the_load(tmp_path, text):
    with pytest.raises(SlipwayError) as caught:
        session_options(tmp_path, text)
    assert caught.value.code is Code.INVALID_ARG


def test_words_for_gpus_are_named_once_each():
    text = (
        'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } '
        "cuda { graphs: true } } " + parameter("gpu_mem_limit", 1)
    )
    assert [str(problem).split(" is ")[0] for problem in options.gpu_words(parse(text))] == [
        "execution accelerator 'tensorrt'",
        "parameter 'gpu_mem_limit'",
        "optimization.cuda.graphs",
    ]


def test_the_arena_can_be_shrunk_after_every_run(tmp_path):
    directory = graphs.identity(tmp_path, FLOAT, [2])
    text = (
        'input { name: "x" data_type: TYPE_FP32 dims: [2] } output { name: "y" data_type: TYPE_FP32 dims: [2] } '
        + parameter("memory.enable_memory_arena_shrinkage", "cpu:0")
    )
    answer = infer(open_instance(load(directory, text)), {"x": np.ones(2, np.float32)})
    assert answer["y"].tolist() == [1, 1]


SHARED_POOL = """
import sys
from pathlib import Path

import numpy as np

from tests.backends.models import infer, open_instance
from tests.backends.onnxruntime.test_run import load, session_options

text = 'input { name: "x" data_type: TYPE_FP32 dims: [2] } output { name: "y" data_type: TYPE_FP32 dims: [2] } '
settings = {"enable_global_threadpool": "1", "intra_op_thread_count": "2"}
assert not session_options(Path(sys.argv[1]), text, **settings).use_per_session_threads
print(infer(open_instance(load(Path(sys.argv[1]), text, **settings)), {"x": np.ones(2, np.float32)})["y"].tolist())
"""


def test_sessions_can_share_one_thread_pool(tmp_path):
    directory = graphs.identity(tmp_path, FLOAT, [2])
    # Once a process has the shared pool it can open no session with a pool of its own: this one must not be ours.
    command = [sys.executable, "-c", SHARED_POOL, str(directory)]
    assert subprocess.check_output(command, text=True) == "[1.0, 1.0]\n"
