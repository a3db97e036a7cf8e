"""`slipway convert` on exports, on output directories of training, and on TensorFlow's checkpoint."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.export import open_trained, write_export
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import CompileSettings, ConvertOptions
from slipway.convert.runner import open_model
from slipway.errors import SlipwayError
from tests.checkpoints.tensor2tensor.public_data import CHECKPOINT, VOCABULARY_8K, needs_public_files
from tests.kits.tensor2tensor_models import HPARAMS, VOCABULARY_NAME, write_data, write_trained


@pytest.fixture
def export(tmp_path):
    trained, data = write_trained(tmp_path / "model"), write_data(tmp_path / "data")
    settings = DecodeHParams(beam_size=2, extra_length=4)
    write_export(tmp_path / "x/17", open_trained(trained, HPARAMS, data / VOCABULARY_NAME, settings, {}))
    return tmp_path / "x/17"


def options(repository, **changes):
    return ConvertOptions("m", repository, **{"engine": "torch", "precision": "fp32"} | changes)


@needs_public_files
@pytest.mark.capability("2.10")
def test_tensorflows_checkpoint_with_its_vocabulary_becomes_a_verified_model(tmp_path):
    source = tmp_path / "trained"
    shutil.copytree(CHECKPOINT, source)
    shutil.copy(VOCABULARY_8K, source)
    converted = convert(source, options(tmp_path / "models"))
    assert converted.models == ("m",)
    assert converted.report.candidates[0].figures.different == 0
    assert "the decoding settings are tensor2tensor's defaults" in " ".join(converted.report.notes)
    with open_model(tmp_path / "models/m") as model:
        found = model.run({"INPUT_TEXT": np.array([[b"Hello world"]], np.object_), "extra_length": np.array([[8]])})
    assert found["outputs"].tolist() == [[6774, 6774, *[1366] * 6, 2765, 620, 620, 620]]
    assert found["scores"][0, 0] == pytest.approx(-34.2178, abs=1e-3)


def test_the_path_of_earlier_versions_is_a_source(export, tmp_path):
    converted = convert(export.parent / "export/Servo/1", options(tmp_path / "models"))
    assert converted.report.source == str(export)
    assert (tmp_path / "models/m/1/decoding.json").read_text() == (export / "decoding.json").read_text()


def test_a_dry_run_lists_the_engines_that_decode_exactly(export, tmp_path):
    report = convert(export, options(tmp_path / "models", engine="auto", precision="auto", dry_run=True)).report
    assert {"torch float32", "torch int8"} <= {each.label for each in report.candidates}
    skipped = {each.label: each.reason for each in report.skipped}
    assert "'tensor2tensor' beam search" in skipped["ctranslate2 float32"]
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": Task.EMBEDDING}, "cannot serve the task 'embedding'"),
        ({"engine": "openvino"}, "choose ctranslate2 or torch"),
        ({"engine": "ctranslate2"}, "'tensor2tensor' beam search"),
        ({"source_language": "eng_Latn"}, "--source-language does not apply"),
        ({"compilation": CompileSettings(first_batch_s=1e-9)}, "its first batch took"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(export, tmp_path, changes, message):
    with pytest.raises(SlipwayError, match=message):
        convert(export, options(tmp_path / "models", **changes))
    assert not (tmp_path / "models").exists()


def test_a_damaged_array_is_named_and_nothing_is_written(export, tmp_path):
    weights = export / "model.ckpt-7.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 255
    weights.write_bytes(data)
    with pytest.raises(SlipwayError, match="wrong checksum"):
        convert(export, options(tmp_path / "models"))
    assert not (tmp_path / "models").exists()
