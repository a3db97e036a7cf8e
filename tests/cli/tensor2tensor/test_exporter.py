"""`t2t-exporter`: what it writes, where, and what it refuses or ignores."""

from __future__ import annotations

import json
import re

import pytest

from slipway.checkpoints.tensor2tensor import export as exports
from slipway.checkpoints.tensor2tensor.export import is_export, read_trained
from slipway.cli.main import main
from slipway.errors import unavailable
from tests.kits.tensor2tensor_models import HPARAMS, PROBLEM, write_data, write_trained

pytestmark = pytest.mark.capability("2.14")


@pytest.fixture
def paths(tmp_path):
    write_trained(tmp_path / "model")
    write_data(tmp_path / "data")
    return tmp_path


def export(paths, *flags):
    head = ["t2t-exporter", f"--problem={PROBLEM}", f"--data_dir={paths / 'data'}", f"--output_dir={paths / 'model'}"]
    return main([*head, *flags])


def test_decoding_settings_are_baked_in(paths):
    assert export(paths, f"--export_dir={paths / 'x'}", "--decode_hparams=beam_size=2,alpha=1,return_beams=true") == 0
    (made,) = (paths / "x").iterdir()
    assert re.fullmatch(r"\d{10}", made.name)
    settings = json.loads((made / "decoding.json").read_text())
    assert (settings["beam_size"], settings["alpha"], settings["return_beams"]) == (2, 1.0, True)
    assert (settings["problem"], settings["step"]) == (PROBLEM, 7)
    assert read_trained(made).settings.beam_size == 2


def test_exports_go_beside_the_model_by_default_and_have_different_names(paths):
    for _ in range(3):
        assert export(paths) == 0
    made = sorted((paths / "model/export").iterdir())
    assert len(made) == 3
    assert all(is_export(each) for each in made)


def test_hparams_json_beside_the_checkpoint_replaces_the_named_set(paths):
    assert export(paths, "--hparams_set=transformer_big", f"--export_dir={paths / 'x'}") == 0
    (made,) = (paths / "x").iterdir()
    assert read_trained(made).hparams == HPARAMS


def test_the_named_set_counts_without_hparams_json(paths, capsys):
    (paths / "model/hparams.json").unlink()
    assert export(paths) == 1
    assert "--hparams_set is required" in capsys.readouterr().err
    changes = "hidden_size=16,filter_size=24,num_hidden_layers=2,num_heads=2,symbol_modality_num_shards=3"
    assert export(paths, "--hparams_set=transformer_base", f"--hparams={changes}") == 0


def test_an_older_checkpoint_can_be_exported(paths):
    write_trained(paths / "model", seed=5, step=9)
    assert export(paths, f"--checkpoint_path={paths / 'model/model.ckpt-7'}", f"--export_dir={paths / 'x'}") == 0
    (made,) = (paths / "x").iterdir()
    assert read_trained(made).checkpoint.step == 7


def test_flags_without_meaning_are_refused_or_named(paths, capsys):
    assert export(paths, "--export_as_tfhub") == 1
    assert "--export_as_tfhub: exports are not modules of TensorFlow Hub" in capsys.readouterr().err
    assert export(paths, "--as_text=false", "--worker_gpu=0") == 0
    warnings = capsys.readouterr().err
    assert "--as_text is ignored" in warnings
    assert "--worker_gpu is ignored" in warnings


def test_a_set_with_true_is_tolerated(paths, caplog):
    assert export(paths, "--hparams_set=transformer_tpu=True") == 0
    assert "'=True' is ignored" in caplog.text


def test_nothing_remains_of_an_export_that_fails(paths, monkeypatch, capsys):
    def full(directory, step):
        raise unavailable("the disk is full")

    monkeypatch.setattr(exports, "point_to", full)
    assert export(paths, f"--export_dir={paths / 'x'}") == 1
    assert "the disk is full" in capsys.readouterr().err
    assert list((paths / "x").iterdir()) == []


def test_a_model_without_its_vocabulary_is_refused(paths, capsys):
    assert export(paths, "--problem=translate_ende_wmt32k") == 1
    assert "vocab.translate_ende_wmt32k.32768.subwords" in capsys.readouterr().err
