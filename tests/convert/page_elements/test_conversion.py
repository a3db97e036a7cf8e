"""Detectors become four models, whatever their export leaves out; what is not a detector is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from onnx import TensorProto, helper
from PIL import Image
from tritonclient.grpc import model_config_pb2

from slipway.cli.main import main
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.encoders.opening import open_file
from slipway.convert.options import ConvertOptions
from slipway.convert.page_elements.contract import PageDetector
from slipway.convert.page_elements.flow import _open_detector
from slipway.convert.page_elements.package import write_page_models
from slipway.convert.page_elements.port_names import can_rename
from slipway.convert.page_elements.samples import sample_pages
from slipway.convert.runner import open_model
from slipway.errors import SlipwayError
from tests.kits.detectors import SIDE, ColourDetector, write_detector, write_program, write_script

MODELS = ("yolox-letterbox", "yolox", "yolox-elements", "yolox-pages")


def options(tmp_path: Path, engine: str = "onnxruntime", precision: str = "fp32", **changes) -> ConvertOptions:
    return ConvertOptions("yolox", tmp_path / "models", engine, precision, task=Task.PAGE_ELEMENTS, **changes)


def config(tmp_path: Path, name: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((tmp_path / "models" / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def tensors(part) -> dict[str, list[int]]:
    return {each.name: list(each.dims) for each in part}


def answer(tmp_path: Path, name: str = "input") -> np.ndarray:
    with open_model(tmp_path / "models" / "yolox") as model:
        return model.run({name: sample_pages(2)})["output"]


def expected(*, decoded: bool = True) -> np.ndarray:
    with torch.no_grad():
        return ColourDetector(decoded=decoded)(torch.from_numpy(sample_pages(2))).numpy()


@pytest.mark.slow
def test_an_onnx_file_becomes_four_models_with_the_tensors_of_the_contract(tmp_path):
    conversion = convert(write_detector(tmp_path / "yolox.onnx"), options(tmp_path))
    assert conversion.models == MODELS
    served = config(tmp_path, "yolox")
    assert (tensors(served.input), served.max_batch_size) == ({"input": [3, SIDE, SIDE]}, 8)
    assert tensors(served.output) == {"output": [21_504, 8]}
    pages = config(tmp_path, "yolox-pages")
    assert tensors(pages.input) == {"image": [-1, -1, -1], "encoded_image": [1]}
    assert tensors(pages.output) == {label: [-1, 5] for label in ("table", "chart", "title")}
    assert any("'images' and 'output' are served as 'input' and 'output'" in note for note in conversion.report.notes)
    np.testing.assert_allclose(answer(tmp_path), expected(), rtol=1e-4, atol=1e-4)


def test_names_that_the_file_already_uses_inside_are_not_given_again(tmp_path):
    path = write_detector(tmp_path / "yolox.onnx")
    model = onnx.load(str(path))
    inner = model.graph.node[0].output[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["input" if name == inner else name for name in names]
    onnx.save(model, str(path))
    assert not can_rename(path, {"images": "input"})
    conversion = convert(path, options(tmp_path, dry_run=True))
    assert any("'input' and 'output': yolox-pages maps them" in note for note in conversion.report.notes)


def test_an_export_without_the_decoding_is_recognised_and_noted(tmp_path):
    conversion = convert(write_detector(tmp_path / "yolox.onnx", decoded=False), options(tmp_path, dry_run=True))
    assert any("yolox-elements adds it" in note for note in conversion.report.notes)


def test_an_export_of_one_page_is_noted(tmp_path):
    conversion = convert(write_detector(tmp_path / "yolox.onnx", batched=False), options(tmp_path, dry_run=True))
    assert any("exactly one page" in note for note in conversion.report.notes)


def test_the_models_around_say_what_the_detector_leaves_to_them(tmp_path):
    detector = PageDetector("pixels", "rows", ("a", "b"), batched=False, decoded=False)
    write_page_models(tmp_path / "models", "yolox", detector)
    pages, elements = config(tmp_path, "yolox-pages"), config(tmp_path, "yolox-elements")
    assert elements.parameters["GRID"].string_value == "undecoded"
    assert pages.max_batch_size == 0
    assert tensors(pages.input) == {"image": [1, -1, -1, -1], "encoded_image": [1, 1]}
    assert tensors(pages.output) == {"a": [1, -1, 5], "b": [1, -1, 5]}
    step = pages.ensemble_scheduling.step[1]
    assert (dict(step.input_map), dict(step.output_map)) == ({"pixels": "input"}, {"rows": "output"})


@pytest.mark.slow
def test_torchscript_needs_no_declaration_of_its_input(tmp_path):
    convert(write_script(tmp_path / "yolox.pt"), options(tmp_path))
    np.testing.assert_allclose(answer(tmp_path), expected(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_exported_program_is_read_by_openvino_directly(tmp_path):
    convert(write_program(tmp_path / "yolox.pt2"), options(tmp_path, "openvino"))
    (takes,) = tensors(config(tmp_path, "yolox").input)
    step = config(tmp_path, "yolox-pages").ensemble_scheduling.step[1]
    assert dict(step.input_map) == {takes: "input"}
    assert list(step.output_map.values()) == ["output"]


def test_int8_is_calibrated_with_a_directory_of_pages(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((60, 40, 3), 80 * number, np.uint8)).save(folder / f"{number}.png")
    source = _open_detector(open_file, write_detector(tmp_path / "yolox.onnx"), options(tmp_path))
    assert source.calibration(folder) == f"the directory {folder}"
    rows = source.calibrate(folder)
    assert [row["input"][0, :, 0, 0].tolist() for row in rows] == [[80.0 * number] * 3 for number in range(3)]
    assert len({row["input"].tobytes() for row in source.calibrate(None)}) == 24
    (folder / "notes.txt").write_text("no page")
    with pytest.raises(SlipwayError, match=r"calibration image '.*notes\.txt': image: these 7 bytes are not an image"):
        source.calibrate(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlipwayError, match="contains no images"):
        source.calibrate(tmp_path / "empty")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ("table", "chart"),
            r"labels table, chart: .* \[1, 21504, 8\], expected float32 \[1, 21504, 7\]; --labels names its 3 classes",
        ),
        (("table", "table", "title"), "each has to differ from the others"),
        (("table", "output", "title"), "from input, output and page_size"),
    ],
    ids=["too-few", "twice", "taken"],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    with pytest.raises(SlipwayError, match=message):
        convert(write_detector(tmp_path / "yolox.onnx"), options(tmp_path, labels=labels))
    assert not (tmp_path / "models").exists()


def test_a_candidate_that_finds_other_elements_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("slipway.convert.page_elements.flow.element_problems", lambda *_: iter(["its boxes are wrong"]))
    with pytest.raises(SlipwayError, match="onnxruntime fp32: its boxes are wrong"):
        convert(write_detector(tmp_path / "yolox.onnx"), options(tmp_path))
    assert not (tmp_path / "models").exists()


def test_labels_without_the_task_are_refused(tmp_path):
    path = write_detector(tmp_path / "yolox.onnx")
    with pytest.raises(SlipwayError, match="--labels applies only to --task page-elements"):
        convert(path, ConvertOptions("m", tmp_path / "models", labels=("a",)))


def write_constant(path: Path, rows: np.ndarray, side: int = SIDE) -> Path:
    """Write a graph that returns the same rows for every page, and 0 times the page's mean."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["corner"]),
        helper.make_node("Add", ["corner", "rows"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["pages", 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["pages", *rows.shape])],
        [
            onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero"),
            onnx.numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "shape"),
            onnx.numpy_helper.from_array(rows[None].astype(np.float32), "rows"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize(
    ("rows", "side", "message"),
    [
        (np.zeros((21_504, 8)), 640, r"its input 'input' is FP32 \[3, 640, 640\], expected FP32 \[3, 1024, 1024\]"),
        (np.zeros((100, 8)), SIDE, r"is float32 \[1, 100, 8\], expected float32 \[1, 21504, 8\]"),
        (np.full((21_504, 8), 3.0), SIDE, "should hold probabilities, but it holds values from 3 to 3"),
        (np.tile([-900, -900, 1, 1, 0.5, 0.5, 0.5, 0.5], (21_504, 1)), SIDE, "cells from the cells of the grids"),
    ],
    ids=["other-size", "other-rows", "logits", "other-grid"],
)
def test_what_is_not_a_detector_is_refused_with_what_is_different(tmp_path, rows, side, message):
    path = write_constant(tmp_path / "model.onnx", rows, side)
    with pytest.raises(SlipwayError, match=message):
        convert(path, options(tmp_path))
    assert not (tmp_path / "models").exists()


def test_a_directory_is_not_a_detector(tmp_path):
    with pytest.raises(SlipwayError, match=r"is not a file: a page-element detector is an \.onnx"):
        convert(tmp_path, options(tmp_path))


def test_the_command_lists_what_would_be_written(tmp_path, capsys):
    path = write_detector(tmp_path / "yolox.onnx")
    words = ["convert", str(path), "--task", "page-elements", "--name", "yolox", "--in-process", "--json", "--dry-run"]
    assert main([*words, "--repository", str(tmp_path / "models"), "--labels", "a,b,c"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["task"], tuple(report["models"])) == ("page-elements", MODELS)
    with pytest.raises(SystemExit):
        main([*words, "--repository", str(tmp_path / "models"), "--labels", "a,,c"])
    assert "expected names such as table,chart,title, not 'a,,c'" in capsys.readouterr().err
