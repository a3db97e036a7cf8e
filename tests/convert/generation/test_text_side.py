"""The models around the engine process text as the tokenizers of transformers do: spaces that are cleaned up, the
source language, the side that is truncated."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from slipway.convert.generation.languages import choose_language
from slipway.convert.generation.source import read_generation_source
from slipway.convert.generation.tokenizer import build_tokenizer, check_text, cleans_up, load_reference
from slipway.errors import SlipwayError
from slipway.runtime.grammars.source import GRAMMAR_NAMES
from slipway.runtime.pieces import APART, TextPieces, clean_up
from slipway.runtime.source_language import SourceLanguage
from tests.convert.models.kit import texts, written
from tests.kits.generators import write_generator

WORDS = ("▁one", "▁two", "▁,", "▁.", "▁'", "▁n't", "▁'s", "▁'re", "▁no", "x", "▁!", "▁'m", "▁do", "'", "▁", "▁?")
LANGUAGES = ("deu_Latn", "eng_Latn", "zho_Hans")


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 whose tokenizer has spaces before punctuation that are to be cleaned up."""
    directory = write_generator(tmp_path_factory.mktemp("spaced"), "t5")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -2.0) for word in WORDS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=True,
    )
    fast.save_pretrained(directory)
    return directory


def test_text_is_cleaned_up_as_transformers_does(spaced, tmp_path):
    reference = load_reference(read_generation_source(spaced, None))
    assert cleans_up(reference)
    copy = build_tokenizer(read_generation_source(spaced, None), reference)
    files = {"tokenizer.json": copy.to_str()}
    chance = random.Random(0)
    rows = [[chance.randrange(3, 3 + len(WORDS)) for _ in range(12)] for _ in range(60)]
    for row in rows:
        check_text(copy, reference, row)
    ids, lengths = np.array(rows)[:, None], np.full((len(rows), 1), 12)
    with written(tmp_path, "detokenizer", inputs=(), parameters={"CLEAN_UP": "1"}, files=files) as model:
        found = model.ask(output_ids=ids, sequence_length=lengths)["generated_text"]
    expected = [reference.decode(row, skip_special_tokens=True) for row in rows]
    assert [text.decode() for text in found[:, 0]] == expected
    assert any(text != copy.decode(row) for text, row in zip(expected, rows, strict=True))


def test_the_pieces_of_a_stream_join_to_the_cleaned_text(spaced):
    copy = Tokenizer.from_file(str(spaced / "tokenizer.json"))
    chance = random.Random(1)
    several = 0
    for _ in range(300):
        ids = [chance.randrange(3, 3 + len(WORDS)) for _ in range(chance.randint(1, 30))]
        pieces = TextPieces(copy, cleaned=True)
        made = [pieces.push(token) for token in ids]
        several += sum(map(bool, made)) > 1
        assert "".join(made) + pieces.rest(ids) == clean_up(copy.decode(ids))
    assert several > 100


def test_a_text_that_is_held_to_a_form_is_not_cleaned_up(spaced, tmp_path):
    copy = Tokenizer.from_file(str(spaced / "tokenizer.json"))
    ids = [copy.token_to_id(word) for word in ("▁one", "▁,", "▁two")]
    files = {"tokenizer.json": copy.to_str()}
    asked = {"output_ids": np.array([[ids]]), "sequence_length": np.array([[3]])}
    with written(tmp_path, "detokenizer", inputs=(), parameters={"CLEAN_UP": "1"}, files=files) as model:
        for name in GRAMMAR_NAMES:
            [held] = model.execute([asked], parameters={name: "one , two"})
            assert held.arrays()["generated_text"].tolist() == [[b"one , two"]]
        [free] = model.execute([asked], parameters={"temperature": 1.0})
    assert free.arrays()["generated_text"].tolist() == [[b"one, two"]]


def test_the_models_and_the_runtime_clean_up_alike():
    from slipway.convert.models import model_source

    assert repr(APART).replace('"', "'") in model_source("detokenizer").replace('"', "'")


def test_byte_pairs_are_not_cleaned_up(tmp_path):
    directory = write_generator(tmp_path / "gpt2", "gpt2")
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"clean_up_tokenization_spaces": True}))
    assert not cleans_up(load_reference(read_generation_source(directory, None)))


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("nllb")
    letters = {f"▁{letter}": place for place, letter in enumerate("abcde", 4)}
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **letters}
    hf.NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=list(LANGUAGES)).save_pretrained(directory)
    return directory


def test_a_request_names_the_language_of_its_text(nllb, tmp_path):
    reference = hf.AutoTokenizer.from_pretrained(nllb)
    languages = choose_language(reference, "zho_Hans")
    assert set(LANGUAGES) <= set(languages.names)
    assert languages.usual == "zho_Hans"
    files = {"tokenizer.json": reference.backend_tokenizer.to_str()}
    settings = {"inputs": ("text", "source_language"), "outputs": ("input_ids",), "parameters": languages.parameters}
    alone = SourceLanguage(Tokenizer.from_str(files["tokenizer.json"]), languages.parameters)
    with written(tmp_path, "tokenizer", files=files, **settings) as model:
        assert model.ask(text=texts(["a b"]))["input_ids"].tolist() == [reference("a b")["input_ids"]]
        for language in LANGUAGES:
            reference.src_lang = language
            expected = reference("a b")["input_ids"]
            assert model.ask(text=texts(["a b"]), source_language=texts([language]))["input_ids"].tolist() == [expected]
            [heard] = model.execute([{"text": texts(["a b"])}], parameters={"src_lang": language})
            assert heard.arrays()["input_ids"].tolist() == [expected]
            encoding = Tokenizer.from_str(files["tokenizer.json"]).encode("a b")
            assert alone.ids(encoding, alone.asked({"src_lang": np.array(language)})) == expected
        code, message = model.refusal(text=texts(["a"]), source_language=texts(["deu_Latin"]))
    assert (code, message) == (
        "INVALID_ARG",
        "source language 'deu_Latin' is unknown: did you mean 'deu_Latn'?",
    )


def test_a_language_that_the_tokenizer_lacks_is_refused_with_the_nearest(nllb, spaced):
    with pytest.raises(SlipwayError, match="source language 'zho_Hant' is unknown: did you mean 'zho_Hans'"):
        choose_language(hf.AutoTokenizer.from_pretrained(nllb), "zho_Hant")
    with pytest.raises(SlipwayError, match="does not add languages to texts"):
        choose_language(hf.AutoTokenizer.from_pretrained(spaced), "deu_Latn")
    assert choose_language(hf.AutoTokenizer.from_pretrained(spaced), "").names == ()


@pytest.mark.parametrize(("family", "usual"), [("t5", "right"), ("gpt2", "left")])
def test_a_text_is_cut_where_its_tokenizer_says_and_a_prompt_at_its_beginning(tmp_path, family, usual):
    directory = write_generator(tmp_path / family, family)
    source = read_generation_source(directory, None)
    assert load_reference(source).truncation_side == usual
    for side in ("left", "right"):
        path = directory / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation_side": side}))
        copy = build_tokenizer(source, load_reference(source))
        assert copy.truncation["direction"] == side
