"""The settings of a checkpoint and of a request give the ids of transformers' `generate()`, on tiny checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from slipway.convert.generation.fixed_draws import FixedDraws
from slipway.convert.generation.generation_settings import HARMLESS, HONOURED, NOT_HONOURED
from slipway.convert.generation.source import read_generation_source
from slipway.errors import SlipwayError
from slipway.runtime import GenerationModel, parameter_arrays
from tests.kits.generators import LINES, write_generator
from tests.runtime.test_generation_model import Sink

FAMILIES = dict.fromkeys(("t5", "umt5", "bart"), hf.AutoModelForSeq2SeqLM) | {"gpt2": hf.AutoModelForCausalLM}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: write_generator(root / family, family) for family in FAMILIES}


@pytest.fixture
def asking(checkpoints) -> Iterator[Any]:
    """Return a function that writes settings into a checkpoint and returns the ids of both for sample texts."""
    kept = {path: path.read_bytes() for each in checkpoints.values() for path in each.glob("generation_config.json")}

    def ask(family: str, settings: Mapping[str, Any], **request: Any) -> tuple[list[Any], list[Any]]:
        directory = checkpoints[family]
        path = directory / "generation_config.json"
        own = json.loads(kept[path])
        path.write_text(json.dumps(own | dict(settings)))
        tokenizer = hf.AutoTokenizer.from_pretrained(directory)
        rows = [tokenizer(line)["input_ids"][:20] for line in LINES[:3]]
        return served(directory, rows, request), expected(FAMILIES[family], directory, rows, tokenizer, request)

    yield ask
    for path, text in kept.items():
        path.write_bytes(text)


def served(directory: Path, rows: list[list[int]], request: Mapping[str, Any]) -> list[Any]:
    defaults = read_generation_source(directory, None).defaults
    model = GenerationModel(directory, {"ENGINE": "torch", "COMPUTE_TYPE": "float32", **defaults}, name="m")
    sinks = [Sink() for _ in rows]
    given = parameter_arrays(json.dumps(dict(request)))
    model.run([({"input_ids": np.array([row]), **given}, sink) for row, sink in zip(rows, sinks, strict=True)])
    model.close()
    answers = []
    for sink in sinks:
        assert sink.error is None, sink.error
        assert sink.arrays is not None
        ids, lengths = sink.arrays["output_ids"][0], sink.arrays["sequence_length"][0]
        answers.append([each[:length].tolist() for each, length in zip(ids, lengths, strict=True)])
    return answers


def expected(
    kind: Any, directory: Path, rows: list[list[int]], tokenizer: Any, request: Mapping[str, Any]
) -> list[Any]:
    network = kind.from_pretrained(directory).eval()
    given = {name: value for name, value in request.items() if name != "seed"}
    config = network.generation_config
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    texts = {"tokenizer": tokenizer} if "stop_strings" in given or config.stop_strings else {}
    if config.pad_token_id is None:
        given["pad_token_id"] = ends[0]
    answers = []
    for row in rows:
        ids = torch.tensor([row])
        first = 1 if network.config.is_encoder_decoder else len(row)
        with torch.inference_mode(), FixedDraws(request.get("seed", 0)):
            made = network.generate(ids, attention_mask=torch.ones_like(ids), **texts, **given)
        answers.append([cut(each[first:].tolist(), ends) for each in made])
    return answers


def cut(ids: list[int], ends: list[int]) -> list[int]:
    places = [place for place, token in enumerate(ids) if token in ends]
    return ids[: places[0] + 1] if places else ids


CASES: dict[str, dict[str, Any]] = {
    "beams with a repetition penalty": {"num_beams": 4, "repetition_penalty": 1.5, "max_new_tokens": 14},
    "a forced end": {"forced_eos_token_id": 1, "max_new_tokens": 6},
    "a forced end of beams": {"forced_eos_token_id": 1, "max_new_tokens": 6, "num_beams": 3, "early_stopping": True},
    "a length of all": {"max_length": 28},
    "a length of all beside one of new tokens": {"max_length": 9, "max_new_tokens": 12},
    "a least length": {"min_length": 24, "max_length": 30},
    "a least length of new tokens": {"min_new_tokens": 9, "max_new_tokens": 12},
    "bad words": {"bad_words_ids": [[0], [40], [41, 42]], "max_new_tokens": 12},
    "bad words of beams": {"bad_words_ids": [[0], [40], [41, 42]], "max_new_tokens": 12, "num_beams": 3},
    "no repeats": {"no_repeat_ngram_size": 2, "max_new_tokens": 16},
    "no repeats of beams": {"no_repeat_ngram_size": 2, "max_new_tokens": 12, "num_beams": 3, "length_penalty": 2.0},
    "no repeats of the source": {"encoder_no_repeat_ngram_size": 1, "max_new_tokens": 12},
    "a penalty on what is not in the source": {"encoder_repetition_penalty": 1.8, "max_new_tokens": 12},
    "an end that grows likelier": {"exponential_decay_length_penalty": [3, 1.4], "max_new_tokens": 14},
    "biases": {"sequence_bias": [[[50], -5.0], [[40], 3.5]], "max_new_tokens": 12},
    "suppressed tokens": {"suppress_tokens": [40, 41], "begin_suppress_tokens": [42, 43], "max_new_tokens": 12},
    "beams that are never early": {"num_beams": 3, "early_stopping": "never", "max_new_tokens": 10},
    "several beams": {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 10},
    "draws": {"do_sample": True, "temperature": 0.7, "max_new_tokens": 12},
    "draws from all": {"do_sample": True, "top_k": 0, "max_new_tokens": 12},
    "draws through every filter": {
        "do_sample": True, "top_k": 30, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9, "epsilon_cutoff": 0.001,
        "eta_cutoff": 0.001, "top_h": 0.8, "max_new_tokens": 12,
    },
    "normalised beams": {"num_beams": 3, "repetition_penalty": 1.3, "renormalize_logits": True, "max_new_tokens": 10},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_what_a_checkpoint_asks_for_is_done_as_by_generate(asking, family, case):
    ours, theirs = asking(family, CASES[case], **({"seed": 5} if CASES[case].get("do_sample") else {}))
    assert ours == theirs


def test_a_first_token_that_is_forced_comes_first(asking):
    ours, theirs = asking(
        "bart", {"forced_bos_token_id": 7, "forced_eos_token_id": 1, "max_length": 12, "num_beams": 2}
    )
    assert ours == theirs
    assert {row[0][0] for row in ours} == {7}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_end_a_generation_in_greedy_search_and_beams(asking, checkpoints, family):
    tokenizer = hf.AutoTokenizer.from_pretrained(checkpoints[family])
    for search in ({}, {"num_beams": 3}):
        usual, _ = asking(family, {"max_new_tokens": 14, **search})
        text = tokenizer.decode(usual[0][0]).strip()
        texts = [text[3:6], "no such text", "a"]
        ours, theirs = asking(family, {"stop_strings": texts, "max_new_tokens": 14, **search})
        assert [[them[0][: len(us[0])]] for them, us in zip(theirs, ours, strict=True)] == ours
        if not search:  # beams may prefer hypotheses without the texts
            assert len(ours[0][0]) < 14


@pytest.mark.parametrize(
    "request_",
    [
        {"max_new_tokens": 7},
        {"max_new_tokens": 7, "num_beams": 3, "length_penalty": 0.5, "num_return_sequences": 2},
        {"max_new_tokens": 7, "do_sample": True, "seed": 11},
        {"max_new_tokens": 7, "do_sample": True, "top_k": 5, "top_p": 0.9, "temperature": 0.6, "seed": 3},
        {"max_new_tokens": 7, "no_repeat_ngram_size": 1, "repetition_penalty": 1.2},
        {"max_new_tokens": 9, "min_new_tokens": 8, "encoder_repetition_penalty": 1.5},
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_request_is_answered_by_the_names_of_transformers(asking, family, request_):
    ours, theirs = asking(family, {"max_new_tokens": 20}, **request_)
    assert ours == theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_a_length_of_a_request_goes_before_that_of_the_checkpoint(asking, family):
    ours, theirs = asking(family, {"max_length": 40}, max_length=26)
    assert ours == theirs
    ours, theirs = asking(family, {"max_length": 40}, max_new_tokens=5)
    assert ours == theirs


def alone(directory: Path, **request: Any) -> Sink:
    model = GenerationModel(directory, {"ENGINE": "torch", "COMPUTE_TYPE": "float32", "max_output_len": "6"}, name="m")
    sink = Sink()
    model.run([({"input_ids": np.array([[5, 9, 7]]), **parameter_arrays(json.dumps(request))}, sink)])
    model.close()
    return sink


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"max_new_token": 5}, "parameter 'max_new_token' is unknown: did you mean 'max_new_tokens'?"),
        (
            {"presense_penalty": 1},
            "parameter 'presense_penalty' is unknown: did you mean 'presence_penalty'?",
        ),
        ({"max_new_tokens": 5, "max_tokens": 6}, "'max_new_tokens' and 'max_tokens' are the same setting"),
        ({"max_new_tokens": 2.5}, "input 'max_new_tokens': 2.5 is not a whole number"),
        ({"top_k": "many"}, "input 'top_k': could not convert"),
        ({"n": 3}, "num_return_sequences is 3, but beam_width is only 1"),
        ({"max_length": 3}, "row 0: it has 3 tokens, but max_length, which includes them, is 3"),
    ],
)
def test_a_request_that_is_not_understood_is_refused_with_the_nearest_name(checkpoints, request_, message):
    sink = alone(checkpoints["gpt2"], **request_)
    assert sink.error is not None
    assert message in sink.error.message


def test_what_is_not_the_models_to_know_is_passed_over(checkpoints):
    usual = alone(checkpoints["gpt2"])
    found = alone(
        checkpoints["gpt2"], stream=False, id="a", triton_enable_empty_final_response=True, **{"x-trace": "1"}
    )
    assert usual.arrays is not None
    assert found.arrays is not None
    assert found.arrays["output_ids"].tolist() == usual.arrays["output_ids"].tolist()


def test_several_draws_are_drawn_each_with_a_seed_of_its_own(checkpoints):
    many = alone(checkpoints["gpt2"], do_sample=True, n=3, seed=4)
    single = [alone(checkpoints["gpt2"], do_sample=True, seed=4 + draw) for draw in range(3)]
    assert many.arrays is not None
    assert many.arrays["output_ids"][0].tolist() == [each.arrays["output_ids"][0, 0].tolist() for each in single]
    assert {row for row, _ in many.tokens} == {0}


def test_a_temperature_of_0_is_greedy_search(checkpoints):
    found = alone(checkpoints["gpt2"], temperature=0, top_p=0.9)
    usual = alone(checkpoints["gpt2"])
    assert found.arrays["output_ids"].tolist() == usual.arrays["output_ids"].tolist()


def test_every_key_of_generation_config_has_its_place():
    known = {*vars(hf.GenerationConfig())}
    assert known <= HONOURED | HARMLESS | NOT_HONOURED.keys()
    assert not HONOURED & HARMLESS
    assert not (HONOURED | HARMLESS) & NOT_HONOURED.keys()


def test_a_setting_that_is_malformed_is_refused_with_its_name(checkpoints, tmp_path):
    source = write_generator(tmp_path / "source", "t5")
    (source / "generation_config.json").write_text(json.dumps({"bad_words_ids": [5]}))
    with pytest.raises(SlipwayError, match="'bad_words_ids' is \\[5\\]: expected lists of token ids"):
        read_generation_source(source, None)


def test_old_checkpoints_say_it_in_their_config_and_a_generation_config_replaces_all_of_it(tmp_path):
    source = write_generator(tmp_path / "source", "bart")
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_beams": 3, "forced_eos_token_id": 1}))
    assert "beam_width" not in read_generation_source(source, None).defaults
    (source / "generation_config.json").unlink()
    found = read_generation_source(source, None)
    assert (found.defaults["beam_width"], found.defaults["forced_eos_token_id"]) == ("3", "1")


def test_what_a_tokenizer_is_asked_for_and_does_not_do_is_named(tmp_path):
    source = write_generator(tmp_path / "source", "gpt2")
    path = source / "tokenizer_config.json"
    changed = {"chat_template": "{{ x }}", "response_template": "x", "left_handed": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    notes = read_generation_source(source, None).notes
    assert not any("chat_template" in note for note in notes)  # it is copied, see test_chat.py
    assert any(note.startswith("tokenizer_config.json sets response_template, which is not supp") for note in notes)
    assert "tokenizer_config.json sets left_handed to True, which is not a known setting and is ignored" in notes
