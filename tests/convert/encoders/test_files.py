"""Sources in a single file: ONNX, TorchScript, torch.export."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.convert.conversion import convert
from slipway.convert.encoders.graph_subject import GraphSubject
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.errors import SlipwayError
from tests.convert.graphs import (
    HIDDEN,
    VOCABULARY,
    write_encoder_graph,
    write_exported,
    write_external,
    write_torchscript,
)


def options(tmp_path: Path, engine: str = "onnxruntime", precision: str = "fp32", **changes) -> ConvertOptions:
    return ConvertOptions("m", tmp_path / "models", engine, precision, lengths=(8,), **changes)


def run(tmp_path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with open_model(tmp_path / "models" / "m") as model:
        return model.run(inputs)


def config(tmp_path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((tmp_path / "models/m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def encoder_inputs(rows: int, length: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_onnx_file_becomes_one_model_that_answers_as_the_file(tmp_path, engine):
    import onnxruntime

    path = write_encoder_graph(tmp_path / "encoder.onnx")
    conversion = convert(path, options(tmp_path, engine))
    assert conversion.models == ("m",)
    inputs = encoder_inputs(3, 7)
    expected = onnxruntime.InferenceSession(path).run(None, inputs)[0]
    np.testing.assert_allclose(run(tmp_path, inputs)["embedding"], expected, atol=1e-5)
    assert config(tmp_path).max_batch_size == 16


def test_ids_of_a_graph_stay_inside_its_table(tmp_path):
    conversion = convert(write_encoder_graph(tmp_path / "encoder.onnx"), options(tmp_path))
    assert conversion.report.candidates[0].figures.rows > 64  # no case failed on an id outside the table


def test_a_graph_without_batch_dimension_is_converted_without_one(tmp_path):
    convert(write_encoder_graph(tmp_path / "encoder.onnx", batched=False), options(tmp_path))
    assert config(tmp_path).max_batch_size == 0
    assert run(tmp_path, encoder_inputs(1, 5))["embedding"].shape == (1, HIDDEN)


def test_external_data_next_to_the_graph_is_copied(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    convert(write_external(folder / "encoder.onnx", "weights.bin"), options(tmp_path))
    assert (tmp_path / "models/m/1/weights.bin").is_file()
    assert run(tmp_path, encoder_inputs(2, 5))["embedding"].shape == (2, HIDDEN)


def test_external_data_outside_of_the_graphs_folder_is_refused(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    path = write_external(folder / "encoder.onnx", "weights.bin")
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    with pytest.raises(SlipwayError, match=r"external data in '\.\./weights\.bin', outside its own folder"):
        convert(path, options(tmp_path))
    assert not (tmp_path / "models").exists()


def test_a_truncated_onnx_file_is_refused_in_one_line(tmp_path):
    path = write_encoder_graph(tmp_path / "encoder.onnx")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SlipwayError, match=r"is not an ONNX file, or it is truncated") as caught:
        convert(path, options(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime", "openvino"])
def test_torchscript_with_declared_inputs_answers_as_the_module(tmp_path, engine):
    convert(write_torchscript(tmp_path / "net.pt"), options(tmp_path, engine, inputs=("x:FP32:-1,2",)))
    answer = run(tmp_path, {"x": np.array([[1, 1], [-3, 1]], np.float32)})["output"]
    np.testing.assert_allclose(answer, [[2, 2], [0, 0]])


def test_the_error_for_torchscript_without_declared_inputs_names_the_option(tmp_path):
    with pytest.raises(SlipwayError, match="name each with --input NAME:TYPE:DIMS"):
        convert(write_torchscript(tmp_path / "net.pt"), options(tmp_path))


@pytest.mark.parametrize("engine", ["pytorch", "onnxruntime"])
def test_an_exported_program_lists_its_own_inputs(tmp_path, engine):
    convert(write_exported(tmp_path / "net.pt2"), options(tmp_path, engine))
    declared = config(tmp_path).input[0]
    assert (list(declared.dims), config(tmp_path).max_batch_size) == ([2], 16)
    answer = run(tmp_path, {declared.name: np.array([[1, 1], [-3, 1]], np.float32)})["OUTPUT__0"]
    np.testing.assert_allclose(answer, [[2, 2], [0, 0]])


def test_inputs_that_the_module_cannot_take_are_named_with_their_shapes(tmp_path):
    with pytest.raises(SlipwayError, match=r"fails on random inputs \{'x': \[2, 3\]\}"):
        convert(write_torchscript(tmp_path / "net.pt"), options(tmp_path, inputs=("x:FP32:-1,3",)))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"x")
    expected = r"is not a supported source: expected a directory or a file that ends in .onnx"
    with pytest.raises(SlipwayError, match=expected):
        convert(tmp_path / "model.h5", options(tmp_path))
    (tmp_path / "model.pt").write_bytes(b"garbage")
    with pytest.raises(SlipwayError, match=r"is not a TorchScript or torch\.export file"):
        convert(tmp_path / "model.pt", options(tmp_path))


def test_a_graph_is_calibrated_with_arrays_from_a_file(tmp_path):
    path = write_encoder_graph(tmp_path / "encoder.onnx")
    np.savez(tmp_path / "typical.npz", **encoder_inputs(40, 8))
    convert(path, options(tmp_path, "openvino", "int8", calibration=tmp_path / "typical.npz", accept=True))
    report = json.loads((tmp_path / "models/m/report.json").read_text())
    assert report["calibration"].endswith("typical.npz")
    assert "its cosine to the reference is" in report["why"]  # random numbers do not survive 8 bits
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(SlipwayError, match="does not fit the model: it lacks 'input_ids'"):
        convert(path, options(tmp_path, calibration=tmp_path / "other.npz", overwrite=True))


def test_values_of_integers_that_nobody_knows_are_not_quantised_on_trust(tmp_path):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net = torch.nn.Sequential(torch.nn.Embedding(100, 16), torch.nn.Linear(16, 4)).eval()
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, dtype=torch.int64)), str(tmp_path / "net.pt"))
    declared = ("ids:INT64:-1,-1",)
    expected = r"range of input 'ids' is unknown; declare it .*--input ids:TYPE:DIMS:LIMIT"
    with pytest.raises(SlipwayError, match=expected):
        convert(tmp_path / "net.pt", options(tmp_path, precision="int8", inputs=declared))
    conversion = convert(
        tmp_path / "net.pt", options(tmp_path, precision="int8", inputs=("ids:INT64:-1,-1:100",), accept=True)
    )
    assert conversion.written


def test_ids_that_are_cast_before_their_table_are_known_too(tmp_path):
    path = write_encoder_graph(tmp_path / "encoder.onnx")
    model = onnx.load(str(path))
    gather = next(node for node in model.graph.node if node.op_type == "Gather")
    gather.input[1] = "narrow_ids"
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["input_ids"], ["narrow_ids"], to=onnx.TensorProto.INT32))
    onnx.save(model, str(path))
    subject = GraphSubject(path)
    assert subject.interface.unknown_ranges == ()
    assert subject.sample(64, 4)["input_ids"].max() > VOCABULARY // 2


def test_external_data_in_a_folder_of_its_own_comes_along(tmp_path):
    folder = tmp_path / "source"
    (folder / "data").mkdir(parents=True)
    convert(write_external(folder / "encoder.onnx", "data/weights.bin"), options(tmp_path))
    assert (tmp_path / "models/m/1/data/weights.bin").is_file()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04broken"])
def test_a_calibration_file_that_is_none_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "rows.npz").write_bytes(content)
    path = write_encoder_graph(tmp_path / "encoder.onnx")
    with pytest.raises(SlipwayError, match=r"calibration file .* is not an \.npz file of arrays") as caught:
        convert(path, options(tmp_path, calibration=tmp_path / "rows.npz"))
    assert "\n" not in str(caught.value)
