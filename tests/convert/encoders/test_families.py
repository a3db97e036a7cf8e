"""Every family of encoders, tiny and random: its graph answers as transformers does, alone and in a padded batch."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.convert.directory import Task
from slipway.convert.encoders.families import FAMILIES
from slipway.convert.encoders.source import read_source
from slipway.convert.thresholds import TOLERANCE
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import NLI, add_sentence_transformers, write_checkpoint, write_tokenizer
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


def questions_of(model_type: str) -> str:
    """Return the auto class of a family's question-answering head, "" if it has none."""
    from transformers.models.auto import modeling_auto as auto

    if model_type in auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES:
        return "AutoModelForQuestionAnswering"
    known = model_type in auto.MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING_NAMES
    return "AutoModelForDocumentQuestionAnswering" if known else ""


@pytest.mark.parametrize("model_type", [each for each in FAMILIES if questions_of(each)])
def test_questions_are_answered_by_every_family_with_such_a_head_as_transformers_does(tmp_path, model_type):
    source = write_checkpoint(tmp_path / "source", model_type, "ForQuestionAnswering")
    gated = gate(source, tmp_path / "work")
    assert gated.verdict.problems == ()
    assert gated.verdict.figures.difference <= TOLERANCE
    pairs = [("a cat?", TEXTS[0]), ("what had gained", TEXTS[1]), ("", TEXTS[2])]
    found = gated.ask(gated.encode(pairs))
    for row, (encoded, output) in enumerate(expected_answers(source, questions_of(model_type), pairs)):
        context = np.array([sequence == 1 for sequence in encoded.sequence_ids(0)])
        for logits, ours in zip((output.start_logits, output.end_logits), found, strict=True):
            theirs = logits[0].numpy()
            np.testing.assert_allclose(ours[row, : len(theirs)][context], theirs[context], rtol=1e-4, atol=1e-4)


def expected_answers(source, auto_class: str, pairs: list[tuple[str, str]]) -> list:
    """Return each pair alone as its tokenizer encodes it, and what transformers answers."""
    import torch
    import transformers

    network = getattr(transformers, auto_class).from_pretrained(source).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    encoded = [tokenizer([first], [second], return_tensors="pt") for first, second in pairs]
    with torch.inference_mode():
        return [(each, network(**each)) for each in encoded]


def test_longformer_needs_a_tokenizer_that_writes_the_separators_it_counts(tmp_path):
    source = write_checkpoint(tmp_path / "source", "longformer", "ForQuestionAnswering")
    write_tokenizer(source, token_types=False, separators=2)
    with pytest.raises(SlipwayError, match="There should be exactly three separator tokens: 3"):
        gate(source, tmp_path / "work")


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
    answering = read_source(write_checkpoint(tmp_path / "questions", "big_bird", "ForQuestionAnswering"))
    assert "transformers lowers them by 1,000,000" in answering.notes[1]


def test_a_head_that_needs_more_than_text_is_refused_with_the_nearest_way(tmp_path):
    source = write_checkpoint(tmp_path / "source", "longformer", "ForMultipleChoice")
    with pytest.raises(SlipwayError, match=r"'LongformerForMultipleChoice' is not supported.*--task hidden-states"):
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
