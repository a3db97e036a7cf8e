"""ONNX files that OpenVINO runs in onnxruntime's place."""

import logging

import numpy as np
import pytest
from onnx import TensorProto

from slipway.backends.onnxruntime import accelerator
from slipway.backends.onnxruntime.accelerator import accelerator_properties
from slipway.backends.onnxruntime.backend import LoadedOnnxModel, OnnxRuntimeBackend
from slipway.backends.openvino.backend import LoadedOpenVinoModel
from slipway.errors import Code, SlipwayError
from tests.backends.models import completion, context, infer, open_instance, parse
from tests.kits import onnx_graphs as graphs

FLOAT = TensorProto.FLOAT


def accelerated(**parameters):
    """Return the part of config.pbtxt that asks for OpenVINO."""
    given = " ".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    inner = f'cpu_execution_accelerator [ {{ name: "openvino" {given} }} ]'
    return f"optimization {{ execution_accelerators {{ {inner} }} }} "


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "slipway.onnxruntime"]


def load(directory, text):
    config = parse(text)
    OnnxRuntimeBackend().complete(config, completion(directory))
    return OnnxRuntimeBackend().load(context(directory, str(config)))


def test_the_model_runs_on_openvino_and_gives_the_same(tmp_path, caplog):
    directory = graphs.two_outputs(tmp_path)
    given = {name: np.random.default_rng(0).random((3, 2), np.float32) for name in "ab"}
    with caplog.at_level(logging.WARNING, "slipway.onnxruntime"):
        model = load(directory, accelerated())
    assert isinstance(model, LoadedOpenVinoModel)
    assert not messages(caplog)
    ours, theirs = (infer(open_instance(each), given) for each in (model, load(directory, "")))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ("sum", "product"))


def test_without_openvino_the_model_loads_on_onnxruntime_with_the_pip_command(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(accelerator, "find_spec", lambda _name: None)
    with caplog.at_level(logging.WARNING, "slipway.onnxruntime"):
        model = load(graphs.two_outputs(tmp_path), accelerated())
    assert isinstance(model, LoadedOnnxModel)
    (warning,) = messages(caplog)
    assert warning.startswith("model 'm': execution accelerator 'openvino' needs the package 'openvino', install it")
    assert warning.endswith('with: pip install "slipway-serving[openvino]"; the model runs on onnxruntime')


def test_what_openvino_cannot_run_onnxruntime_runs(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "slipway.onnxruntime"):
        model = load(graphs.identity(tmp_path, TensorProto.STRING), accelerated())
    assert isinstance(model, LoadedOnnxModel)
    (warning,) = messages(caplog)
    assert "cannot run this model (unsupported OpenVINO element type 'string'" in warning
    assert infer(open_instance(model), {"x": np.array([[b"a"]], object)})["y"].tolist() == [[b"a"]]


def test_doubles_stay_on_onnxruntime_which_keeps_their_digits(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "slipway.onnxruntime"):
        model = load(graphs.identity(tmp_path, TensorProto.DOUBLE), accelerated())
    assert isinstance(model, LoadedOnnxModel)
    (warning,) = messages(caplog)
    assert "execution accelerator 'openvino' computes FP64 in FP32; the model runs on onnxruntime" in warning
    third = np.full((1, 2), 1 / 3)
    assert np.array_equal(infer(open_instance(model), {"x": third})["y"], third)


def test_a_model_whose_weights_requests_may_replace_stays_on_onnxruntime(tmp_path, caplog):
    default = graphs.weights("b", np.array([1, 2], np.float32))
    inputs = [("a", FLOAT, [2]), ("b", FLOAT, [2])]
    directory = graphs.write(tmp_path, [("Add", ["a", "b"], ["y"])], inputs, [("y", FLOAT, [2])], [default])
    a, b, y = (f'name: "{name}" data_type: TYPE_FP32 dims: [2]' for name in "aby")
    text = f"input {{ {a} }} input {{ {b} optional: true }} output {{ {y} }} "
    assert isinstance(load(directory, text + accelerated()), LoadedOnnxModel)
    assert "drops these tensors of the graph: b" in messages(caplog)[0]


def test_the_checks_are_those_of_onnxruntime(tmp_path):
    io = 'input {{ name: "x" data_type: TYPE_FP32 dims: [2] }} output {{ name: "{}" data_type: TYPE_FP32 dims: [2] }} '
    directory = graphs.identity(tmp_path, FLOAT, [1, 2])
    for text in ("max_batch_size: 8 " + io.format("y"), io.format("z")):
        plain, fast = (refusal(directory, text + extra) for extra in ("", accelerated()))
        assert plain == fast


def refusal(directory, text):
    with pytest.raises(SlipwayError) as caught:
        load(directory, text)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, {"INFERENCE_PRECISION_HINT": "f32"}),
        ({"device_type": "CPU", "precision": "FP32"}, {"INFERENCE_PRECISION_HINT": "f32"}),
        ({"device_type": "CPU_FP16"}, {"INFERENCE_PRECISION_HINT": "f16"}),
        ({"precision": "bf16"}, {"INFERENCE_PRECISION_HINT": "bf16"}),
        (
            {"num_of_threads": "3", "num_streams": "2"},
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 3, "NUM_STREAMS": 2},
        ),
    ],
)
def test_parameters_of_the_accelerator_are_honoured(parameters, expected):
    assert accelerator_properties("m", parameters) == expected


@pytest.mark.parametrize("given", [("precision", "FP8"), ("num_of_threads", "many"), ("num_streams", "-1")])
def test_a_parameter_that_makes_no_sense_fails_the_load(tmp_path, given):
    key, value = given
    code, message = refusal(graphs.two_outputs(tmp_path), accelerated(**{key: value}))
    assert code is Code.INVALID_ARG
    assert f"parameter '{key}' of accelerator 'openvino'" in message
    assert value in message


def test_other_devices_and_unknown_parameters_are_warned_of(tmp_path, caplog):
    directory = graphs.two_outputs(tmp_path)
    with caplog.at_level(logging.WARNING, "slipway.onnxruntime"):
        load(directory, accelerated(device_type="GPU_FP16", cache_dir="x"))
    assert messages(caplog) == [
        "model 'm': parameter 'cache_dir' of accelerator 'openvino' is ignored",
        "model 'm': device_type GPU_FP16 is ignored, the model runs on the CPU",
    ]
