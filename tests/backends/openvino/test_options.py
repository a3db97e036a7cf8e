"""Parameters of config.pbtxt, and their effect on the library."""

import logging

import numpy as np
import pytest
from onnx import TensorProto

from slipway.backends.openvino import library
from slipway.backends.openvino.library import open_core
from slipway.backends.openvino.options import compile_options, shaping_of
from slipway.errors import Code, SlipwayError
from slipway.openvino_library import import_openvino
from tests.backends.models import context, infer, open_instance, parse
from tests.backends.openvino.models import load, parameter, to_ir
from tests.kits import onnx_graphs as graphs

FLOAT = TensorProto.FLOAT


def properties(tmp_path, text="", threads=1):
    return compile_options(context(tmp_path, text, threads=threads)).properties


def test_numbers_do_not_change_unless_the_configuration_says_so(tmp_path):
    given = properties(tmp_path)
    assert given["INFERENCE_PRECISION_HINT"] == "f32"
    assert given["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 0


@pytest.mark.parametrize(("instances", "threads", "hint"), [(1, 2, "LATENCY"), (2, 1, "THROUGHPUT")])
def test_every_instance_has_a_stream_and_its_share_of_threads(tmp_path, instances, threads, hint):
    given = properties(tmp_path, f"instance_group {{ count: {instances} }}", threads)
    assert given["NUM_STREAMS"] == instances
    assert given["INFERENCE_NUM_THREADS"] == instances * threads
    assert given["PERFORMANCE_HINT"] == hint


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("INFERENCE_NUM_THREADS", "5", "INFERENCE_NUM_THREADS", 5),
        ("CPU_THREADS_NUM", "5", "INFERENCE_NUM_THREADS", 5),
        ("NUM_STREAMS", "3", "NUM_STREAMS", 3),
        ("NUM_STREAMS", "auto", "NUM_STREAMS", "AUTO"),
        ("CPU_THROUGHPUT_STREAMS", "NUMA", "NUM_STREAMS", "NUMA"),
        ("PERFORMANCE_HINT", "throughput", "PERFORMANCE_HINT", "THROUGHPUT"),
        ("CPU_BIND_THREAD", "YES", "ENABLE_CPU_PINNING", True),
        ("CPU_BIND_THREAD", "NUMA", "ENABLE_CPU_PINNING", False),
        ("ENFORCE_BF16", "YES", "INFERENCE_PRECISION_HINT", "bf16"),
        ("ENFORCE_BF16", "NO", "INFERENCE_PRECISION_HINT", "f32"),
        ("HINT_BF16", "YES", "INFERENCE_PRECISION_HINT", "bf16"),
        ("INFERENCE_PRECISION_HINT", "BF16", "INFERENCE_PRECISION_HINT", "bf16"),
        ("INFERENCE_PRECISION_HINT", "fp16", "INFERENCE_PRECISION_HINT", "f16"),
        ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "32", "DYNAMIC_QUANTIZATION_GROUP_SIZE", 32),
    ],
)
def test_tritons_parameters_are_openvinos_properties(tmp_path, key, value, name, expected):
    assert properties(tmp_path, parameter(key, value))[name] == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INFERENCE_NUM_THREADS", "many"),
        ("INFERENCE_NUM_THREADS", "-1"),
        ("NUM_STREAMS", "-1"),
        ("NUM_STREAMS", "some"),
        ("PERFORMANCE_HINT", "FAST"),
        ("CPU_BIND_THREAD", "MAYBE"),
        ("INFERENCE_PRECISION_HINT", "f64"),
        ("ENFORCE_BF16", "PERHAPS"),
        ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "x"),
        ("TARGET_DEVICE", "ABACUS"),
        ("CPU_EXTENSION_PATH", "/nowhere/library.so"),
    ],
)
def test_a_value_that_makes_no_sense_fails_the_load(tmp_path, key, value):
    with pytest.raises(SlipwayError, match=key) as caught:
        properties(tmp_path, parameter(key, value))
    assert caught.value.code is Code.INVALID_ARG
    assert value in caught.value.message


@pytest.mark.parametrize("key", ["RESHAPE_IO_LAYERS", "SKIP_OV_DYNAMIC_BATCHSIZE", "ENABLE_BATCH_PADDING"])
def test_a_switch_is_yes_or_no(key):
    assert shaping_of(parse(parameter(key, "YES"))) != shaping_of(parse(parameter(key, "NO"))) == shaping_of(parse(""))
    with pytest.raises(SlipwayError, match=f"parameter '{key}': failed to convert 'so' to boolean"):
        shaping_of(parse(parameter(key, "so")))


def test_an_extension_that_is_not_a_library_of_operators_fails_the_load(tmp_path):
    (tmp_path / "no.so").touch()
    directory = to_ir(graphs.identity(tmp_path / "m", FLOAT))
    with pytest.raises(SlipwayError, match=r"'no\.so' is not a library of OpenVINO operators") as caught:
        load(directory, parameter("CPU_EXTENSION_PATH", tmp_path / "no.so"))
    assert caught.value.code is Code.INVALID_ARG


def test_words_for_other_devices_are_warned_of_once_each(tmp_path, caplog):
    text = parameter("TARGET_DEVICE", "GPU.0") + (
        'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }'
    )
    with caplog.at_level(logging.WARNING, "slipway.openvino"):
        properties(tmp_path, text)
    assert [record.getMessage() for record in caplog.records] == [
        "model 'm': execution accelerator 'tensorrt' is ignored, the model runs on the CPU",
        "model 'm': TARGET_DEVICE GPU.0 is ignored, the model runs on the CPU",
    ]


def test_the_library_takes_the_properties_and_says_so(tmp_path, monkeypatch):
    compiled = []
    compile_model = library.compile_model
    monkeypatch.setattr(library, "compile_model", lambda *given: compiled.append(compile_model(*given)) or compiled[-1])
    text = parameter("NUM_STREAMS", 1) + parameter("PERFORMANCE_HINT", "THROUGHPUT")
    load(to_ir(graphs.identity(tmp_path, FLOAT)), text)
    (model,) = compiled
    assert model.get_property("INFERENCE_PRECISION_HINT") == import_openvino().Type.f32
    assert model.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0
    assert model.get_property("ENABLE_CPU_PINNING") is False
    assert str(model.get_property("PERFORMANCE_HINT")).endswith("THROUGHPUT")


@pytest.mark.parametrize("streams", ["AUTO", "NUMA", 0, 2])
def test_any_number_of_streams_answers(tmp_path, streams):
    model = load(to_ir(graphs.identity(tmp_path, FLOAT)), parameter("NUM_STREAMS", streams))
    assert infer(open_instance(model), {"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[1, 1]]


def product(directory, precision):
    """Return x @ w for numbers that bfloat16 rounds."""
    executor = open_instance(load(directory, parameter("INFERENCE_PRECISION_HINT", precision)))
    return infer(executor, {"x": np.full((1, 64), 1 + 2**-10, np.float32)})["y"]


@pytest.mark.parametrize(("hint", "capability"), [("bf16", "BF16"), ("f16", "FP16")])
def test_a_precision_is_what_was_asked_for_or_f32_with_a_warning(tmp_path, caplog, hint, capability):
    ones = graphs.weights("w", np.ones((64, 64), np.float32))
    io = [("x", FLOAT, ["n", 64])], [("y", FLOAT, ["n", 64])]
    directory = to_ir(graphs.write(tmp_path, [("MatMul", ["x", "w"], ["y"])], *io, [ones]))
    exact = product(directory, "f32")
    assert (exact == np.float32(64 * (1 + 2**-10))).all()
    warned = f"model 'm': this CPU does not compute in {hint}, the model runs in f32"
    answer = product(directory, hint)
    if capability in open_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert warned not in caplog.messages
        assert (answer == exact).all() == (hint == "f16")  # 1 + 2**-10 is a number of float16, not of bfloat16
    else:
        assert warned in caplog.messages
        assert (answer == exact).all()
