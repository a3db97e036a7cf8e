"""`slipway lightseq export`, as people type it."""

from __future__ import annotations

import pytest

from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.cli.main import main
from slipway.config.parse import parse_config
from tests.checkpoints.lightseq.test_export import FAMILIES, fairseq_file, saved
from tests.kits.huggingface_models import save_model


@pytest.mark.capability("1.19")
def test_the_original_scripts_options_write_the_named_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fairseq_file(tmp_path)
    assert main(["lightseq", "export", "-m", "checkpoint_best.pt", "-hdf5", "-g", "topk"]) == 0
    assert read_lightseq(tmp_path / "checkpoint_best.hdf5", "Transformer").conf.sampling_method == "topk"
    assert "wrote checkpoint_best.hdf5: Transformer" in capsys.readouterr().out
    assert main(["lightseq", "export", "--model", "checkpoint_best.pt", "--ptq"]) == 0
    assert (tmp_path / "checkpoint_best_ptq.pb").is_file()
    assert main(["lightseq", "export"]) == 0  # checkpoint_best.pt is the default
    assert (tmp_path / "checkpoint_best.pb").is_file()


@pytest.mark.capability("1.19")
def test_help_lists_the_sources(capsys):
    with pytest.raises(SystemExit):
        main(["lightseq", "export", "--help"])
    text = capsys.readouterr().out
    assert all(source in text for source in (*FAMILIES, "fairseq"))


@pytest.mark.parametrize("source", FAMILIES)
def test_a_model_is_written_ready_to_serve(source, tmp_path, capsys):
    directory = saved(source, tmp_path / "hf")
    repository = tmp_path / "models"
    command = ["lightseq", "export", "--source", source, "--model", str(directory)]
    assert main([*command, "--repository", str(repository), "--name", "demo"]) == 0
    entry = repository / "demo"
    config = parse_config((entry / "config.pbtxt").read_text(), "demo")
    model_type = config.parameters["model_type"].string_value
    read_lightseq(entry / config.default_model_filename, model_type)
    assert (config.name, config.backend, config.max_batch_size) == ("demo", "lightseq", 8)
    assert list((entry / "1").iterdir()) == []
    assert f"slipway serve {repository}" in capsys.readouterr().out


def test_a_failed_export_leaves_no_entry(tmp_path, capsys):
    save_model("t5", tmp_path / "hf")  # heads narrower than the model
    command = ["lightseq", "export", "--model", str(tmp_path / "hf"), "--repository", str(tmp_path), "--name", "demo"]
    assert main(command) == 1
    assert "not as wide as the model" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--name", "demo"], "--repository and --name must be given together"),
        (["--repository", ".", "--name", "../up"], "is not a valid model name"),
        (["--beam-size", "3"], "invalid choice: 3"),
        (["--source", "hf-llama"], "invalid choice: 'hf-llama'"),
        (["--hdf5", "--output", "a.pb"], "contradict"),
    ],
)
def test_wrong_usage_is_one_line(words, text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fairseq_file(tmp_path)
    try:
        code = main(["lightseq", "export", *words])
    except SystemExit as error:
        code = error.code
    assert code == 1
    assert text in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint_best.pt"]
