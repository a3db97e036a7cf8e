"""Other engines and number types than plain FP32, and pictures of the user to quantise with."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from slipway.convert.vision.pictures import make_picture
from slipway.errors import SlipwayError
from tests.kits.vision_checkpoints import write_classifier


def test_a_directory_of_pictures_calibrates_int8_and_is_named_in_the_report(tmp_path):
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        Image.fromarray(make_picture(number, 40, 50)).save(tmp_path / f"pictures/{number}.png")
    source, models = write_classifier(tmp_path / "source"), tmp_path / "models"
    options = ConvertOptions("m", models, "openvino", "int8", calibration=tmp_path / "pictures", accept=True)
    convert(source, options)
    report = json.loads((models / "m-model/report.json").read_text())
    assert report["calibration"] == f"the directory {tmp_path / 'pictures'}"
    assert (models / "m-processor/1/image.json").is_file()
    assert not (models / "m-tokenizer").exists()


def test_a_calibration_file_is_refused(tmp_path):
    (tmp_path / "texts.txt").write_text("a text")
    options = ConvertOptions("m", tmp_path, "openvino", "int8", calibration=tmp_path / "texts.txt")
    with pytest.raises(SlipwayError, match=r"calibration takes a directory of pictures here"):
        convert(write_classifier(tmp_path / "source"), options)


def test_torch_runs_a_copy_of_the_network_in_bfloat16(tmp_path):
    options = ConvertOptions("m", tmp_path / "models", "pytorch", "bf16", accept=True)
    converted = convert(write_classifier(tmp_path / "source"), options)
    [candidate] = converted.report.candidates
    assert 0 < candidate.figures.difference < 0.2


def test_the_inputs_of_other_sources_are_refused(tmp_path):
    with pytest.raises(SlipwayError, match="--input is for ONNX and torch files"):
        convert(write_classifier(tmp_path / "s"), ConvertOptions("m", tmp_path, inputs=("x:FP32:3",)))
