"""`slipway convert` on tiny checkpoints of every family, and on unusable directories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2

from slipway.convert.conversion import Converted, convert
from slipway.convert.directory import Task
from slipway.convert.encoders.source import FAMILIES, read_source
from slipway.convert.encoders.tokenizer import encode
from slipway.convert.options import ConvertOptions
from slipway.convert.thresholds import TOLERANCE
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import add_sentence_transformers, write_checkpoint

TEXTS = ["The cat sat on the mat.", "Stocks rallied, and the British pound gained.", "hi"]


def convert_text_model(source: Path, *, name: str, repository: Path, overwrite: bool = False) -> Converted:
    """Convert quickly, to the simplest candidate."""
    options = ConvertOptions(name, repository, "onnxruntime", "fp32", lengths=(8,), overwrite=overwrite)
    return convert(source, options)


def answer(repository: Path, name: str, texts: list[str]) -> np.ndarray:
    """Run the tokenizer and encoder of a written repository, as the ensemble would."""
    tokenizer = Tokenizer.from_file(str(repository / f"{name}-tokenizer/1/tokenizer.json"))
    session = onnxruntime.InferenceSession(repository / f"{name}-model/1/model.onnx")
    names = [each.name for each in session.get_inputs()]
    return session.run(None, encode(tokenizer, texts, names))[0]


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_converts_and_passes_its_gate(tmp_path, model_type):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source", model_type))
    conversion = convert_text_model(source, name="m", repository=tmp_path / "models")
    figures = conversion.report.candidates[0].figures
    assert figures.difference <= TOLERANCE
    assert figures.rows > 100
    embeddings = answer(tmp_path / "models", "m", TEXTS)
    assert embeddings.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("mode", ["cls", "mean", "max", "mean_sqrt_len_tokens"])
def test_pooling_equals_sentence_transformers_formula(tmp_path, mode):
    import torch
    from transformers import AutoModel, AutoTokenizer

    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"), mode, normalise=False)
    convert_text_model(source, name="m", repository=tmp_path / "models")
    network = AutoModel.from_pretrained(source).eval()
    with torch.no_grad():
        ids = AutoTokenizer.from_pretrained(source)(TEXTS[1], return_tensors="pt")
        hidden = network(**ids).last_hidden_state[0].numpy()
    expected = {
        "cls": hidden[0],
        "mean": hidden.mean(0),
        "max": hidden.max(0),
        "mean_sqrt_len_tokens": hidden.sum(0) / len(hidden) ** 0.5,
    }[mode]
    np.testing.assert_allclose(answer(tmp_path / "models", "m", TEXTS)[1], expected, atol=TOLERANCE)


def test_a_classifier_keeps_its_labels(tmp_path):
    source = write_checkpoint(
        tmp_path / "source",
        head="ForSequenceClassification",
        id2label={0: "positive", 1: "negative", 2: "neutral"},
        label2id={"positive": 0, "negative": 1, "neutral": 2},
    )
    convert_text_model(source, name="m", repository=tmp_path / "models")
    assert answer(tmp_path / "models", "m", TEXTS).shape == (3, 3)
    config = text_format.Parse((tmp_path / "models/m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert [output.name for output in config.output] == ["logits", "label", "scores"]
    assert config.output[0].label_filename == "labels.txt"
    assert (tmp_path / "models/m/labels.txt").read_text() == "positive\nnegative\nneutral\n"


def test_a_plain_encoder_answers_with_hidden_states(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    conversion = convert_text_model(source, name="m", repository=tmp_path / "models")
    assert conversion.report.task == "hidden-states"
    assert answer(tmp_path / "models", "m", TEXTS).shape[0::2] == (3, 32)


def test_a_default_prompt_is_put_before_every_text(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    prompts = {"default_prompt_name": "query", "prompts": {"query": "the cat "}}
    (source / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    convert_text_model(source, name="m", repository=tmp_path / "models")
    config = (tmp_path / "models/m-tokenizer/config.pbtxt").read_text()
    assert 'key: "PROMPT"' in config
    assert 'string_value: "the cat "' in config


def test_text_is_truncated_to_the_length_the_model_was_made_for(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    convert_text_model(source, name="m", repository=tmp_path / "models")
    tokenizer = Tokenizer.from_file(str(tmp_path / "models/m-tokenizer/1/tokenizer.json"))
    assert len(tokenizer.encode("cat " * 100).ids) == 24


def test_configs_agree_on_batch_size_and_tensors(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    convert_text_model(source, name="m", repository=tmp_path / "models")
    configs = {
        path.parent.name: text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        for path in (tmp_path / "models").glob("*/config.pbtxt")
    }
    assert {name: config.name for name, config in configs.items()} == {name: name for name in configs}
    assert {config.max_batch_size for config in configs.values()} == {16}
    tokenizer_outputs = [(each.name, each.data_type) for each in configs["m-tokenizer"].output]
    assert tokenizer_outputs == [(each.name, each.data_type) for each in configs["m-model"].input]
    assert configs["m"].output == configs["m-model"].output
    assert configs["m-model"].parameters["LENGTH_BATCHING_PAD_VALUES"].string_value.split() == [
        "input_ids=0",
        "attention_mask=0",
        "token_type_ids=0",
    ]


def test_existing_models_need_overwrite(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    repository = tmp_path / "models"
    (repository / "m").mkdir(parents=True)
    (repository / "m" / "config.pbtxt").write_text("mine")
    with pytest.raises(SlipwayError, match="already exists; --overwrite replaces it"):
        convert_text_model(source, name="m", repository=repository)
    assert snapshot(repository) == {"m/config.pbtxt": b"mine"}
    convert_text_model(source, name="m", repository=repository, overwrite=True)
    assert "ensemble_scheduling" in (repository / "m" / "config.pbtxt").read_text()


def test_a_failed_conversion_leaves_the_old_models_and_no_traces(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    repository = tmp_path / "models"
    convert_text_model(source, name="m", repository=repository)
    before = snapshot(tmp_path / "models")
    (source / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(SlipwayError, match="cannot load the weights"):
        convert_text_model(source, name="m", repository=repository, overwrite=True)
    assert snapshot(repository) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "source"]


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def drop_vocabulary(source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    del config["vocab_size"]
    (source / "config.json").write_text(json.dumps(config))


SPOILED = {
    "'vocab_size' should be an integer but is None": drop_vocabulary,
    "'id2label' should map numbers to names": lambda source: edit_json(source / "config.json", id2label={"x": "y"}),
    "module '1' is not supported": lambda source: (source / "modules.json").write_text("[1]"),
    "pooling without the prompt": lambda source: edit_json(source / "1_Pooling/config.json", include_prompt=False),
    "the default prompt 'q' is not among the prompts: none": lambda source: (
        source / "config_sentence_transformers.json"
    ).write_text('{"default_prompt_name": "q"}'),
    "has no config.json": lambda source: (source / "config.json").unlink(),
    "config.json: Expecting property name": lambda source: (source / "config.json").write_text("{,"),
    r"'LlamaForCausalLM' \(model_type 'llama'\) is not supported; supported model types: albert, bert": (
        lambda source: edit_json(source / "config.json", model_type="llama", architectures=["LlamaForCausalLM"])
    ),
    "cannot load the weights": lambda source: (source / "model.safetensors").write_bytes(b"garbage"),
    "cannot load the weights .*no file named": lambda source: (source / "model.safetensors").unlink(),
    "missing arrays, first 'encoder.layer.2": lambda source: edit_json(source / "config.json", num_hidden_layers=3),
    "has no tokenizer: expected tokenizer.json or vocab.txt": lambda source: (source / "tokenizer.json").unlink(),
    "cannot open the tokenizer": lambda source: (source / "tokenizer.json").write_text("{}"),
    "module 'Dense' is not supported": lambda source: (source / "modules.json").write_text(
        json.dumps([{"path": "", "type": "sentence_transformers.models.Dense"}])
    ),
    "pooling weightedmean is not supported": lambda source: (source / "1_Pooling/config.json").write_text(
        json.dumps({"pooling_mode": "weightedmean"})
    ),
}


@pytest.mark.parametrize("message", SPOILED)
def test_an_unusable_source_is_refused_in_one_line_and_nothing_is_written(tmp_path, message):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    SPOILED[message](source)
    with pytest.raises(SlipwayError, match=message) as caught:
        convert_text_model(source, name="m", repository=tmp_path / "models")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "models").exists()


def test_a_head_without_a_task_is_refused_by_name(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    edit_json(source / "config.json", architectures=["BertForMultipleChoice"])
    with pytest.raises(SlipwayError, match=r"'BertForMultipleChoice' is not supported; supported for .*'bert'"):
        read_source(source)


def test_a_task_that_a_head_was_not_trained_for_is_refused(tmp_path):
    source = write_checkpoint(tmp_path / "source")
    with pytest.raises(SlipwayError, match="cannot serve the task 'fill-mask'; it can serve: hidden-states"):
        read_source(source, task=Task.MASK)


def test_positions_of_the_fairseq_families_start_after_the_padding_id(tmp_path):
    source = read_source(write_checkpoint(tmp_path / "source", "roberta"))
    assert (source.max_length, source.task) == (40, Task.HIDDEN_STATES)


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b"])
def test_names_that_are_not_model_names_are_refused(tmp_path, name):
    with pytest.raises(SlipwayError, match="is not a model name"):
        convert_text_model(tmp_path, name=name, repository=tmp_path / "models")
