"""Every family of encoders, tiny and random: its graph answers as transformers does, alone and in a padded batch."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.convert.directory import Task
from slipway.convert.encoders.families import FAMILIES
from slipway.convert.encoders.source import read_source
from slipway.convert.thresholds import TOLERANCE
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import NLI, add_sentence_transformers, write_checkpoint
from tests.kits.encoder_gate import Gated, gate

TEXTS = ["The cat sat on the mat.", "Stocks rallied, and the British pound gained.", "hi"]
LABELLED = [
    "bart", "big_bird", "camembert", "deberta", "eurobert", "fnet", "gpt2", "gte", "layoutlm", "longformer", "mbart",
    "mobilebert", "mpnet", "nomic_bert", "roformer", "squeezebert", "t5", "umt5", "xlm-roberta",
]  # fmt: skip


def answers(gated: Gated, texts: list[str]) -> np.ndarray:
    return gated.ask(gated.encode(texts))[0]


def expected(source, auto_class: str, texts: list[str]) -> list:
    """Return what transformers answers to each text alone, as its own files make it."""
    import torch
    import transformers

    network = getattr(transformers, auto_class).from_pretrained(source).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    with torch.inference_mode():
        return [network(**tokenizer(text, return_tensors="pt")) for text in texts]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_passes_its_gate(tmp_path, model_type):
    gated = gate(add_sentence_transformers(write_checkpoint(tmp_path / "source", model_type)), tmp_path / "work")
    assert gated.verdict.problems == ()
    assert gated.verdict.figures.difference <= TOLERANCE
    assert gated.verdict.figures.rows > 100
    embeddings = answers(gated, TEXTS)
    assert embeddings.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("model_type", LABELLED)
def test_a_classifier_of_every_family_answers_as_transformers_does(tmp_path, model_type):
    source = write_checkpoint(tmp_path / "source", model_type, "ForSequenceClassification", num_labels=3)
    gated = gate(source, tmp_path / "work")
    assert gated.verdict.problems == ()
    rows = expected(source, "AutoModelForSequenceClassification", TEXTS)
    np.testing.assert_allclose(
        answers(gated, TEXTS), np.concatenate([row.logits.numpy() for row in rows]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("model_type", ["longformer", "fnet", "mobilebert"])
def test_networks_in_a_second_form_keep_their_hidden_states(tmp_path, model_type):
    source = write_checkpoint(tmp_path / "source", model_type)
    gated = gate(source, tmp_path / "work")
    assert gated.verdict.problems == ()
    for found, row in zip(answers(gated, TEXTS), expected(source, "AutoModel", TEXTS), strict=True):
        hidden = row.last_hidden_state[0].numpy()
        np.testing.assert_allclose(found[: len(hidden)], hidden, rtol=1e-4, atol=1e-4)


def test_a_bart_of_entailment_is_the_zero_shot_model_that_people_have(tmp_path):
    labels = {"id2label": NLI, "label2id": {name: index for index, name in NLI.items()}}
    source = write_checkpoint(tmp_path / "source", "bart", "ForSequenceClassification", **labels)
    gated = gate(source, tmp_path / "work")
    assert gated.source.task == "zero-shot"
    assert gated.verdict.problems == ()


def test_what_a_family_does_unlike_transformers_is_noted(tmp_path):
    big_bird = read_source(write_checkpoint(tmp_path / "big_bird", "big_bird"))
    assert big_bird.max_length == (5 + 2 * 1) * 4
    assert "truncates texts to 28 tokens" in big_bird.notes[0]
    assert "box of every token is (0, 0, 0, 0)" in read_source(write_checkpoint(tmp_path / "l", "layoutlm")).notes[0]


def test_a_head_that_needs_more_than_text_is_refused_with_the_nearest_way(tmp_path):
    source = write_checkpoint(tmp_path / "source", "longformer", "ForQuestionAnswering")
    with pytest.raises(SlipwayError, match=r"'LongformerForQuestionAnswering' is not supported.*--task hidden-states"):
        read_source(source)
    assert read_source(source, task=Task.HIDDEN_STATES).task is Task.HIDDEN_STATES


def test_the_encoder_alone_is_not_offered_where_what_lies_below_the_head_decodes_too(tmp_path):
    source = write_checkpoint(tmp_path / "source", "bart", "ForSequenceClassification", num_labels=3)
    with pytest.raises(SlipwayError, match="it can serve: text-classification, reranking, zero-shot"):
        read_source(source, task=Task.HIDDEN_STATES)


def test_a_family_without_a_row_is_refused_with_what_there_is_and_the_nearest_way(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "canine", "architectures": ["CanineModel"]}')
    with pytest.raises(SlipwayError, match=r"'CanineModel' \(model_type 'canine'\).*supported model types: .*ONNX"):
        read_source(tmp_path)
