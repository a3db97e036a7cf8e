"""A Llama with tokens for bytes, from its checkpoint to served text: special tokens, ends, context, streams."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from google.protobuf import text_format
from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2

from slipway.config.purpose import purpose_of
from slipway.convert.conversion import Converted, convert
from slipway.convert.generation.source import generates, read_generation_source
from slipway.convert.generation.tokenizer import build_tokenizer, check_text, check_tokenizer, load_reference
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model
from slipway.errors import SlipwayError
from slipway.runtime.pieces import TextPieces
from slipway.runtime.stop_texts import TokenBytes
from tests.kits.generators import write_generator

CONTEXT = 96
PROMPTS = np.random.default_rng(2).integers(4, 300, (6, 5))
TEXTS = (
    "the cat sat",
    "naïve café, 東京, 🙂",
    " two  spaces\nand lines\n",
    "<turn>the dog<turn></s>",
    "日本語のテキスト",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two end tokens, the second of which it generates for the first of `PROMPTS`."""
    directory = write_generator(tmp_path_factory.mktemp("llama"), "llama")
    model = hf.AutoModelForCausalLM.from_pretrained(directory)
    made = model.generate(torch.from_numpy(PROMPTS[:1]), max_new_tokens=8, do_sample=False, eos_token_id=None)
    ends = {"eos_token_id": [2, int(made[0, -1])]}
    for name, more in (("config.json", {"trained_by": "me"}), ("generation_config.json", {})):
        settings = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps(settings | ends | more))
    return directory


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory) -> tuple[Path, Converted]:
    repository = tmp_path_factory.mktemp("models")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    conversion = convert(source, ConvertOptions("m", repository, "torch", precision="fp32"))
    torch.set_num_threads(threads)
    return repository, conversion


def test_the_copy_of_the_tokenizer_encodes_and_decodes_as_transformers_does(source):
    opened = read_generation_source(source, None)
    reference = load_reference(opened)
    copy = build_tokenizer(opened, reference)
    check_tokenizer(opened, copy, reference, TEXTS)
    for text in TEXTS:
        ids = copy.encode(text).ids
        assert ids[0] == 1  # <s>
        check_text(copy, reference, ids)
    assert copy.decode(copy.encode("東 <turn>x").ids) == "東 <turn> x"


def test_pieces_are_whole_characters_of_the_text_even_after_bytes_of_none(source):
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        pieces = TextPieces(tokenizer)
        made = [pieces.push(token) for token in ids]
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(made)
        assert "".join(made) + pieces.rest(ids) == tokenizer.decode(ids)
    chance = random.Random(1)
    the = tokenizer.token_to_id("\u2581the")
    for _ in range(300):
        ids = [chance.choice((the, chance.randrange(tokenizer.get_vocab_size()))) for _ in range(30)] + [the, the]
        pieces = TextPieces(tokenizer)
        made = [pieces.push(token) for token in ids]
        text = tokenizer.decode(ids)
        assert made[-1] == " the"  # it goes on after bytes that are not part of a character
        joined = "".join(made) + pieces.rest(ids)
        assert len(joined) == len(text)
        assert all(one in (other, joined[place]) for place, (one, other) in enumerate(zip(joined, text, strict=True)))


def test_the_bytes_of_tokens_are_those_that_stop_texts_compare(source):
    tokens = TokenBytes(Tokenizer.from_file(str(source / "tokenizer.json")))
    found = [tokens.of(tokens._tokenizer.token_to_id(name)) for name in ("\u2581the", "<0xE6>", "t", "<turn>")]
    assert found == [b" the", b"\xe6", b"t", b"<turn>"]


def test_it_generates_the_ids_of_transformers_and_says_what_it_ignores(converted):
    _, conversion = converted
    report = conversion.report
    (candidate,) = report.candidates
    assert candidate.figures.same_rows + candidate.figures.ties == candidate.figures.rows
    assert "config.json sets trained_by, which is not a known setting and is ignored" in report.notes


def test_any_of_its_end_tokens_ends_a_text(converted, source):
    repository, _ = converted
    model = hf.AutoModelForCausalLM.from_pretrained(source)
    ends = model.generation_config.eos_token_id
    with open_model(repository / "m-model") as served:
        found = served.run({"input_ids": PROMPTS, "max_output_len": np.full((len(PROMPTS), 1), 40, np.uint32)})
    lengths = found["sequence_length"][:, 0]
    for row, ids, length in zip(PROMPTS, found["output_ids"][:, 0], lengths, strict=True):
        made = model.generate(torch.from_numpy(row)[None], max_new_tokens=40, do_sample=False)[0, 5:].tolist()
        assert [token for token in ids[:length].tolist() if token not in ends] == [
            token for token in made if token not in ends
        ]
    assert lengths[0] <= 8 < lengths.max()


def test_a_prompt_that_leaves_no_room_in_the_context_is_refused_with_both_numbers(converted):
    repository, _ = converted
    ensemble = text_format.Parse((repository / "m/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    purpose = purpose_of(ensemble)
    assert purpose is not None
    assert purpose.max_tokens == CONTEXT
    with open_model(repository / "m-model") as model:
        longest = model.run({"input_ids": np.full((1, CONTEXT - 1), 9)})
        assert longest["sequence_length"][0, 0] <= 1
        with pytest.raises(
            SlipwayError, match=f"its {CONTEXT} tokens leave no room to generate in {CONTEXT} positions"
        ):
            model.run({"input_ids": np.full((1, CONTEXT), 9)})


@pytest.mark.parametrize(
    ("model_type", "architecture", "known"),
    [
        ("llama", "LlamaForCausalLM", True),
        ("gemma3", "Gemma3ForConditionalGeneration", True),
        ("llama", "LlamaForSequenceClassification", False),
        ("bart", "BartForCausalLM", False),  # a decoder without its encoder
    ],
)
def test_only_networks_with_a_head_over_the_vocabulary_generate(model_type, architecture, known, tmp_path):
    config = {"model_type": model_type, "architectures": [architecture]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert generates(tmp_path) is known
