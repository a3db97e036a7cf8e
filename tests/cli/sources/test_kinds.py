"""What each word on the command line of `slipway serve` is taken for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.cli.sources.kinds import Source, SourceKind, recognise
from slipway.errors import Code, SlipwayError
from tests.kits.repositories import add_identity


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str = "") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def mistake(text: str) -> str:
    with pytest.raises(SlipwayError) as caught:
        recognise(text)
    assert caught.value.code is Code.INVALID_ARG
    return caught.value.message


def test_a_directory_with_models_is_a_repository(tmp_path):
    add_identity(tmp_path / "models")
    assert recognise("models") == Source("models", SourceKind.REPOSITORY)


def test_a_model_directory_is_a_repository_of_this_model(tmp_path):
    add_identity(tmp_path)
    assert recognise("identity").kind is SourceKind.REPOSITORY


def test_an_empty_directory_is_a_repository():
    Path("empty/.hidden").mkdir(parents=True)
    assert recognise("empty").kind is SourceKind.REPOSITORY


def test_a_repository_may_have_a_config_json_of_another_program(tmp_path):
    add_identity(tmp_path / "models")
    write("models/config.json", json.dumps({"theme": "dark"}))
    assert recognise("models").kind is SourceKind.REPOSITORY


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", '{"model_type": "bert"}'),
        ("config.json", "{"),  # the conversion says what is wrong with it
        ("modules.json", "[]"),
        ("model.safetensors", ""),
    ],
)
def test_a_directory_of_hugging_face_is_a_checkpoint(file, text):
    write(f"my model/{file}", text)
    assert recognise("my model") == Source("my model", SourceKind.CHECKPOINT, "my-model")


def test_an_export_of_tensor2tensor_is_a_checkpoint():
    write("export/decoding.json", "{}")
    write("export/hparams.json", "{}")
    write("export/checkpoint", 'model_checkpoint_path: "model.ckpt-1"')
    assert recognise("export").kind is SourceKind.CHECKPOINT


@pytest.mark.parametrize("ending", [".onnx", ".pt", ".pt2"])
def test_a_model_file_has_the_name_of_its_file(ending):
    write(f"net v1{ending}")
    assert recognise(f"net v1{ending}") == Source(f"net v1{ending}", SourceKind.FILE, "net-v1")


@pytest.mark.parametrize(("text", "name"), [("intfloat/e5-small-v2", "e5-small-v2"), ("gpt2", "gpt2")])
def test_a_word_that_is_not_a_path_is_the_id_of_a_model_on_a_hub(text, name):
    assert recognise(text) == Source(text, SourceKind.HUB, name)


def test_a_snapshot_of_the_hub_has_the_name_of_its_model():
    write("models--intfloat--e5-small/snapshots/0a1b/config.json", '{"model_type": "bert"}')
    assert recognise("models--intfloat--e5-small/snapshots/0a1b").name == "e5-small"


def test_a_path_that_does_not_exist_is_left_to_the_server():
    assert recognise("./no/such/directory").kind is SourceKind.REPOSITORY


def test_a_model_file_that_does_not_exist_is_refused_with_the_nearest():
    write("model.onnx")
    assert mistake("modle.onnx") == "'modle.onnx' does not exist; did you mean 'model.onnx'?"


def test_a_directory_that_could_be_both_is_refused_with_the_ways_out(tmp_path):
    add_identity(tmp_path / "both")
    write("both/config.json", '{"architectures": ["BertModel"]}')
    message = mistake("both")
    assert (
        "could be a Hugging Face directory (config.json) and a model repository (with the model 'identity')" in message
    )
    assert "--model-repository=both serves the repository" in message


def test_a_directory_that_is_neither_is_refused_with_what_was_looked_for_and_the_nearest():
    write("downloads/notes.txt")
    write("downloads/bert/config.json", '{"model_type": "bert"}')
    message = mistake("downloads")
    assert "expected a model repository (subdirectories with config.pbtxt or a version such as 1)" in message
    assert "a Hugging Face directory (config.json or modules.json)" in message
    assert message.endswith("; did you mean 'downloads/bert'?")


def test_a_model_file_in_a_directory_that_is_neither_is_the_nearest():
    write("exports/net.onnx")
    assert mistake("exports").endswith("; did you mean 'exports/net.onnx'?")


def test_models_may_come_later_to_a_directory_without_any():
    write("models/README.md")
    assert recognise("models", may_grow=True).kind is SourceKind.REPOSITORY


def test_a_file_of_a_checkpoint_is_refused_with_its_directory():
    write("bert/config.json", '{"model_type": "bert"}')
    write("bert/model.safetensors")
    assert mistake("bert/model.safetensors").endswith("; did you mean its directory, 'bert'?")


def test_an_adapter_is_sent_to_its_base():
    write("adapter/adapter_config.json", "{}")
    assert "slipway convert adapter --base DIRECTORY merges the two" in mistake("adapter")
