"""The models around an engine: text to ids, ids to text."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.convert.models.kit import texts, words, written

VOCABULARY = ("[PAD]", "[CLS]", "[SEP]", "the", "cat", "sat", "is", "a", "dog")
PAD, CLS, SEP, THE, CAT, SAT, IS, A, DOG = range(len(VOCABULARY))
FIELDS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    made.add_special_tokens(["[CLS]", "[SEP]", "[PAD]"])
    made.enable_padding(pad_id=PAD, pad_token="[PAD]")
    return {"tokenizer.json": made.to_str()}


def test_texts_become_ids_padded_to_the_longest_of_the_request(tmp_path, tokenizer):
    with written(tmp_path, "tokenizer", inputs=["text"], outputs=FIELDS, files=tokenizer) as model:
        answer = model.ask(text=texts(["the cat sat"], ["dog"]))
    assert answer["input_ids"].tolist() == [[CLS, THE, CAT, SAT, SEP], [CLS, DOG, SEP, PAD, PAD]]
    assert answer["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert answer["token_type_ids"].tolist() == [[0] * 5, [0] * 5]
    assert {array.dtype for array in answer.values()} == {np.dtype(np.int64)}


def test_a_prompt_is_put_before_every_text(tmp_path, tokenizer):
    prompt = {"PROMPT": "the dog "}
    with written(
        tmp_path, "tokenizer", inputs=["text"], outputs=["input_ids"], parameters=prompt, files=tokenizer
    ) as model:
        assert model.ask(text=texts(["sat"]))["input_ids"].tolist() == [[CLS, THE, DOG, SAT, SEP]]


def test_two_inputs_are_pairs_and_offsets_are_positions_in_the_second(tmp_path, tokenizer):
    outputs = [*FIELDS, "offsets"]
    with written(tmp_path, "tokenizer", inputs=["question", "context"], outputs=outputs, files=tokenizer) as model:
        answer = model.ask(question=texts(["a dog"]), context=texts(["the cat"]))
    assert answer["input_ids"].tolist() == [[CLS, A, DOG, SEP, THE, CAT, SEP]]
    assert answer["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    assert answer["offsets"].tolist() == [[[-1, -1]] * 4 + [[0, 3], [4, 7], [-1, -1]]]


@pytest.fixture
def zero_shot(tmp_path, tokenizer):
    with written(
        tmp_path,
        "tokenizer",
        inputs=["text", "labels"],
        outputs=["input_ids"],
        parameters={"HYPOTHESIS": "is a {}"},
        files=tokenizer,
    ) as model:
        yield model


def test_a_text_is_paired_with_every_label_of_its_row(zero_shot):
    answer = zero_shot.ask(text=texts(["the"], ["sat"]), labels=texts(["cat", "dog"], ["dog", "cat"]))
    expected = [
        [[CLS, text, SEP, IS, A, label, SEP] for label in row] for text, row in ((THE, (CAT, DOG)), (SAT, (DOG, CAT)))
    ]
    assert answer["input_ids"].tolist() == expected


def test_one_label_is_refused_and_fails_no_other_request(zero_shot):
    both = {"text": texts(["the"]), "labels": texts(["cat", "dog"])}
    bad, good = zero_shot.execute([{**both, "labels": texts(["cat"])}, both])
    assert bad.error.code().name == "INVALID_ARG"
    assert bad.error.message() == "input 'labels' needs at least two labels to choose from, but has 1"
    assert good.arrays()["input_ids"].shape == (1, 2, 7)


def test_a_text_that_is_not_utf8_is_refused_by_the_name_of_its_input(tmp_path, tokenizer):
    with written(tmp_path, "tokenizer", inputs=["text"], outputs=["input_ids"], files=tokenizer) as model:
        code, message = model.refusal(text=np.array([[b"caf\xe9"]], dtype=np.object_))
    assert code == "INVALID_ARG"
    assert message.startswith("input 'text' is not valid UTF-8: 'utf-8' codec can't decode byte 0xe9 in position 3")


def test_a_request_of_no_rows_has_tensors_of_no_rows(tmp_path, tokenizer):
    with written(tmp_path, "tokenizer", inputs=["text"], outputs=["input_ids", "offsets"], files=tokenizer) as model:
        answer = model.ask(text=np.empty((0, 1), dtype=np.object_))
    assert (answer["input_ids"].shape, answer["offsets"].shape) == ((0, 0), (0, 0, 2))


def test_ids_become_text_up_to_their_length_without_special_tokens(tmp_path, tokenizer):
    with written(tmp_path, "detokenizer", files=tokenizer) as model:
        ids = np.array([[[THE, CAT, SEP, DOG], [DOG, A, A, A]], [[SAT, PAD, PAD, PAD], [CLS, SEP, A, A]]])
        answer = model.ask(output_ids=ids, sequence_length=np.array([[3, 1], [1, 2]]))
        nothing = model.ask(output_ids=np.zeros((0, 1, 0), np.int64), sequence_length=np.zeros((0, 1), np.int64))
    assert words(answer["generated_text"]) == [["the cat", "dog"], ["sat", ""]]
    assert nothing["generated_text"].shape == (0, 1)


def test_special_tokens_that_are_markup_stay_if_the_omitted_ids_are_listed(tmp_path, tokenizer):
    parameters = {"OMITTED": f"{PAD} {CLS}"}
    with written(tmp_path, "detokenizer", files=tokenizer, parameters=parameters) as model:
        ids = np.array([[[CLS, THE, SEP, PAD]]])
        answer = model.ask(output_ids=ids, sequence_length=np.array([[4]]))
    assert words(answer["generated_text"]) == [["the [SEP]"]]
