"""An export holds exactly what translating needs, and the paths of earlier versions lead to it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.export import (
    find_export,
    is_export,
    is_trained,
    open_trained,
    read_decoding,
    read_hparams,
    read_trained,
    write_export,
)
from slipway.errors import Code, SlipwayError
from tests.kits.tensor2tensor_models import HPARAMS, PROBLEM, VOCABULARY_NAME, write_data, write_trained

pytestmark = pytest.mark.capability("2.14")


@pytest.fixture
def model(tmp_path):
    data, trained = write_data(tmp_path / "data"), write_trained(tmp_path / "trained")
    settings = DecodeHParams(beam_size=2, extra_length=5)
    return open_trained(trained, HPARAMS, data / VOCABULARY_NAME, settings, {"problem": PROBLEM})


def test_an_export_has_the_same_weights_vocabulary_and_settings(model, tmp_path):
    write_export(tmp_path / "x/17", model)
    found = read_trained(tmp_path / "x/17")
    assert found.hparams == model.hparams
    assert found.vocabulary.subtokens == model.vocabulary.subtokens
    assert found.settings == model.settings
    assert found.facts == {"problem": PROBLEM, "step": 7}
    assert found.checkpoint.spec == model.checkpoint.spec
    for name, array in model.checkpoint.weights.items():
        assert np.array_equal(found.checkpoint.weights[name], array)


@pytest.mark.parametrize("path", ["x", "x/18", "x/export/Servo/1", "x/Servo/1", "x/export/Servo", "x/3"])
def test_the_paths_of_earlier_versions_mean_the_newest_export(model, tmp_path, path):
    for number in (9, 18, 17):
        write_export(tmp_path / "x" / str(number), model)
    (tmp_path / "x/20").mkdir()  # not an export
    assert find_export(tmp_path / path) == tmp_path / "x/18"


def test_a_path_that_no_export_is_above_means_none(model, tmp_path):
    write_export(tmp_path / "x/17", model)
    assert find_export(tmp_path / "y/export/Servo/1") is None
    assert find_export(tmp_path / "x/models/1") is None


def test_an_output_directory_is_not_an_export(model):
    assert is_trained(model.path)
    assert not is_export(model.path)


def test_the_vocabulary_is_found_through_the_flags_of_the_training(model, tmp_path):
    with pytest.raises(SlipwayError, match="has no vocabulary") as caught:
        read_trained(model.path)
    assert caught.value.code is Code.NOT_FOUND
    flags = f"--data_dir={tmp_path / 'data'}\n--problem={PROBLEM}_rev\n--hparams=\n"
    (model.path / "flags.txt").write_text(flags)
    (tmp_path / "data/vocab.translate_other.8192.subwords").write_text("'<pad>_'\n")
    found = read_trained(model.path)
    assert found.vocabulary_name == VOCABULARY_NAME
    assert found.facts["problem"] == f"{PROBLEM}_rev"


def test_several_vocabularies_are_refused_with_their_names(model):
    for name in ("vocab.a.1.subwords", "vocab.b.1.subwords"):
        model.vocabulary.save(model.path / name)
    with pytest.raises(SlipwayError, match=r"several vocabularies \(vocab\.a\.1\.subwords, vocab\.b\.1\.subwords\)"):
        read_trained(model.path)


def test_an_export_never_replaces_a_directory(model, tmp_path):
    (tmp_path / "x/17").mkdir(parents=True)
    with pytest.raises(SlipwayError, match="cannot write the export"):
        write_export(tmp_path / "x/17", model)


@pytest.mark.parametrize(("name", "read"), [("hparams.json", read_hparams), ("decoding.json", read_decoding)])
def test_settings_are_read_from_regular_files_only(tmp_path, name, read):
    os.mkfifo(tmp_path / name)
    with pytest.raises(SlipwayError, match=f"{name}: it is not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize("data_dir", ["~nobody-of-this-name/data", "/" + 300 * "a"])
def test_a_data_directory_that_cannot_be_is_refused(model, data_dir):
    (model.path / "flags.txt").write_text(f"--data_dir={data_dir}\n")
    with pytest.raises(SlipwayError, match=r"has no vocabulary|File name too long"):
        read_trained(model.path)
