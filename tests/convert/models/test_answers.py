"""The models that turn a network's outputs into answers, on values computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from tests.convert.models.kit import texts, words, written

LABELS = "negative\nneutral\npositive\n"
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "S-LOC", "E-LOC", "misc")
VOCABULARY = ("[PAD]", "[MASK]", "cat", "dog", "mat", "sat", "the")
THIRDS = np.log([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]]).astype(np.float32)


def classified(tmp_path, scores, logits):
    with written(
        tmp_path, "answer_classification", parameters={"SCORES": scores}, files={"labels.txt": LABELS}
    ) as model:
        return model.ask(logits=np.asarray(logits, np.float32))


def test_a_class_is_the_likeliest_label_and_shares_add_up_to_one(tmp_path):
    answer = classified(tmp_path, "softmax", THIRDS)
    assert words(answer["label"]) == [["neutral"], ["negative"]]
    np.testing.assert_allclose(answer["scores"], [[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], rtol=1e-6)
    assert answer["scores"].dtype == np.float32


def test_shares_of_large_logits_are_not_lost(tmp_path):
    answer = classified(tmp_path, "softmax", [[1000, 1000, -1000]])
    np.testing.assert_allclose(answer["scores"], [[0.5, 0.5, 0]])


def test_labels_that_exclude_nothing_are_scored_one_by_one(tmp_path):
    answer = classified(tmp_path, "sigmoid", [[0, np.log(3), -np.log(3)]])
    np.testing.assert_allclose(answer["scores"], [[0.5, 0.75, 0.25]], rtol=1e-6)


def test_the_figures_of_a_regression_are_left_as_they_are(tmp_path):
    answer = classified(tmp_path, "none", [[1.5, -2, 0]])
    np.testing.assert_array_equal(answer["scores"], [[1.5, -2, 0]])


@pytest.fixture
def filler(tmp_path):
    vocabulary = {word: index for index, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[PAD]"))
    given = {"tokenizer.json": tokenizer.to_str()}
    with written(tmp_path, "answer_mask", parameters={"MASK_ID": "1"}, files=given) as model:
        yield model


def test_a_mask_is_filled_with_the_five_likeliest_words(filler):
    logits = np.zeros((2, 3, len(VOCABULARY)), np.float32)
    logits[0, 1] = np.log([0.02, 0.03, 0.4, 0.3, 0.1, 0.1, 0.05])
    logits[1, 0] = np.log([0.05, 0.05, 0.1, 0.2, 0.5, 0.06, 0.04])
    logits[1, 2] = 50  # a second mask: the first is filled
    answer = filler.ask(input_ids=np.array([[6, 1, 5], [1, 2, 1]]), logits=logits)
    assert words(answer["tokens"]) == [["cat", "dog", "mat", "sat", "the"], ["mat", "dog", "cat", "sat", "[PAD]"]]
    np.testing.assert_allclose(answer["scores"], [[0.4, 0.3, 0.1, 0.1, 0.05], [0.5, 0.2, 0.1, 0.06, 0.05]], rtol=1e-5)


def test_a_text_without_a_mask_fails_alone_and_the_error_names_the_mask(filler):
    logits = np.zeros((1, 2, len(VOCABULARY)), np.float32)
    asked = [{"input_ids": np.array([[6, 5]]), "logits": logits}, {"input_ids": np.array([[6, 1]]), "logits": logits}]
    bad, good = filler.execute(asked)
    assert (bad.error.code().name, bad.error.message()) == (
        "INVALID_ARG",
        "every text must contain the mask token '[MASK]'",
    )
    assert good.arrays()["scores"].shape == (1, 5)


@pytest.fixture
def spans(tmp_path):
    with written(tmp_path, "answer_question") as model:
        yield model


CONTEXT = "Zoë paid 42 pounds"
PLACES = [(-1, -1), (0, 3), (4, 8), (9, 11), (12, 18), (-1, -1)]  # the question's tokens have no place


def logits_of(*probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities)).astype(np.float32)


def test_an_answer_is_the_likeliest_span_of_the_context_in_characters(spans):
    answer = spans.ask(
        context=texts([CONTEXT]),
        start_logits=logits_of([0.5, 0.05, 0.05, 0.3, 0.05, 0.05]),
        end_logits=logits_of([0.4, 0.1, 0.1, 0.1, 0.2, 0.1]),
        offsets=np.array([PLACES]),
    )
    assert words(answer["answer"]) == [["42 pounds"]]
    assert answer["span"].tolist() == [[9, 18]]
    np.testing.assert_allclose(answer["score"], [[0.3 / 0.45 * 0.2 / 0.5]], rtol=1e-5)


def test_characters_are_counted_not_bytes_and_an_end_is_never_before_its_start(spans):
    answer = spans.ask(
        context=texts([CONTEXT]),
        start_logits=logits_of([0.1, 0.2, 0.3, 0.1, 0.2, 0.1]),  # the most likely start is after the most likely end
        end_logits=logits_of([0.1, 0.5, 0.1, 0.1, 0.1, 0.1]),
        offsets=np.array([PLACES]),
    )
    assert words(answer["answer"]) == [["Zoë"]]
    np.testing.assert_allclose(answer["score"], [[0.2 / 0.8 * 0.5 / 0.8]], rtol=1e-5)


def test_no_span_has_more_than_fifteen_tokens(spans):
    start, end = np.full((1, 20), -9.0, np.float32), np.full((1, 20), -9.0, np.float32)
    start[0, 0], end[0, 19], end[0, 14] = 9, 9, 5
    offsets = np.array([[(place, place + 1) for place in range(20)]])
    answer = spans.ask(context=texts(["abcdefghijklmnopqrst"]), start_logits=start, end_logits=end, offsets=offsets)
    assert answer["span"].tolist() == [[0, 15]]


def test_a_context_without_tokens_has_no_answer(spans):
    zeros = np.zeros((1, 2), np.float32)
    answer = spans.ask(context=texts([""]), start_logits=zeros, end_logits=zeros, offsets=np.full((1, 2, 2), -1))
    assert (words(answer["answer"]), answer["score"].tolist(), answer["span"].tolist()) == ([[""]], [[0]], [[0, 0]])


TEXT = "Ana de Ruiz left São Paulo"
WORD_PLACES = [(-1, -1), (0, 3), (4, 6), (7, 11), (12, 16), (17, 20), (21, 26), (0, 0)]


def entities(tmp_path, tags, text=TEXT, places=WORD_PLACES):
    """Return the entities of a text with the given tags, each with probability 0.75."""
    logits = np.zeros((1, len(tags), len(TAGS)), np.float32)
    for place, tag in enumerate(tags):
        logits[0, place, TAGS.index(tag)] = np.log(3 * (len(TAGS) - 1))
    with written(tmp_path, "answer_tokens", files={"labels.txt": "".join(f"{tag}\n" for tag in TAGS)}) as model:
        answer = model.ask(text=texts([text]), logits=logits, offsets=np.array([places]))
    return json.loads(answer["entities"][0, 0])


def found(tmp_path, *tags):
    return [(each["entity"], each["word"]) for each in entities(tmp_path, ("misc", *tags, "misc"))]


def test_neighbouring_tokens_of_one_kind_are_one_entity_with_its_mean_score(tmp_path):
    assert entities(tmp_path, ("O", "B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC", "O")) == [
        {"entity": "PER", "score": pytest.approx(0.75), "start": 0, "end": 11, "word": "Ana de Ruiz"},
        {"entity": "LOC", "score": pytest.approx(0.75), "start": 17, "end": 26, "word": "São Paulo"},
    ]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("I-PER", "I-PER", "O", "O", "O", "O"), [("PER", "Ana de")]),  # an inside tag starts one too
        (("B-PER", "B-PER", "I-PER", "O", "O", "O"), [("PER", "Ana"), ("PER", "de Ruiz")]),
        (("O", "O", "O", "O", "B-LOC", "E-LOC"), [("LOC", "São Paulo")]),
        (("O", "O", "O", "O", "S-LOC", "S-LOC"), [("LOC", "São"), ("LOC", "Paulo")]),
        (("misc", "misc", "I-PER", "O", "O", "misc"), [("misc", "Ana de"), ("PER", "Ruiz"), ("misc", "Paulo")]),
        (("O", "O", "O", "O", "O", "O"), []),
    ],
)
def test_labels_of_every_scheme_are_grouped(tmp_path, tags, expected):
    assert found(tmp_path, *tags) == expected


@pytest.fixture
def chooser(tmp_path):
    with written(tmp_path, "answer_zero_shot") as model:
        yield model


def test_labels_of_the_request_share_one_and_the_best_comes_first_only_in_name(chooser):
    answer = chooser.ask(
        labels=texts(["sport", "économie", "art"], ["a", "b", "c"]),
        entailment=np.log([[0.2, 0.5, 0.3], [0.8, 0.1, 0.1]]).astype(np.float32),
    )
    assert words(answer["label"]) == [["économie"], ["a"]]
    np.testing.assert_allclose(answer["scores"], [[0.2, 0.5, 0.3], [0.8, 0.1, 0.1]], rtol=1e-6)
