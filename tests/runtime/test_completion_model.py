"""A checkpoint that completes orders: events with text, stop texts, log-probabilities, penalties, reasons to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from slipway.errors import Code, SlipwayError
from slipway.runtime import CompletionModel
from tests.kits.generators import LINES, first_seen, write_generator

PARAMETERS = {"ENGINE": "torch", "COMPUTE_TYPE": "float32"}


class Events:
    """Records the events of one request; its client leaves after `stays` tokens."""

    def __init__(self, stays: int = 1 << 30) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.closed = False
        self.error: SlipwayError | None = None
        self._stays = stays

    def event(self, event: Mapping[str, Any]) -> None:
        assert not self.closed
        self.events.append(event)

    def wanted(self) -> bool:
        self._stays -= 1
        return self._stays > 0

    def close(self) -> None:
        self.closed = True

    def fail(self, error: SlipwayError) -> None:
        self.error = error

    def row(self, row: int = 0) -> list[Mapping[str, Any]]:
        return [event for event in self.events if event["row"] == row]

    def text(self, row: int = 0) -> str:
        return "".join(event["text"] for event in self.row(row))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_generator(tmp_path_factory.mktemp("checkpoint") / "gpt2", "gpt2")


@pytest.fixture(scope="module")
def model(checkpoint) -> Iterator[CompletionModel]:
    opened = CompletionModel(checkpoint, PARAMETERS, name="m")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def reference(checkpoint) -> tuple[Any, Any]:
    return hf.AutoModelForCausalLM.from_pretrained(checkpoint).eval(), hf.AutoTokenizer.from_pretrained(checkpoint)


def run(model: CompletionModel, *orders: dict[str, Any], sink: Events | None = None) -> Events:
    sink = sink or Events()
    array = np.array([[json.dumps(order).encode()] for order in orders], dtype=np.object_)
    model.run([({"completion": array}, sink)])
    return sink


def prompt(reference: tuple[Any, Any], line: str = LINES[0]) -> list[int]:
    return list(reference[1](line)["input_ids"])[:20]


def greedy(reference: tuple[Any, Any], ids: list[int], new: int) -> list[int]:
    network, _ = reference
    with torch.no_grad():
        found = network.generate(torch.tensor([ids]), max_new_tokens=new, do_sample=False, pad_token_id=0)
    return found[0, len(ids) :].tolist()


def test_the_text_of_greedy_search_is_that_of_transformers_whole_and_in_pieces(model, reference):
    rows = [prompt(reference, line) for line in LINES]
    sink = run(model, *({"prompt": ids, "max_tokens": 12, "pieces": bool(row % 2)} for row, ids in enumerate(rows)))
    assert sink.closed
    for row, ids in enumerate(rows):
        expected = greedy(reference, ids, 12)
        assert sink.text(row) == reference[1].decode(expected, skip_special_tokens=True)
        last = sink.row(row)[-1]
        assert last["tokens"] == len(expected)
        assert last["finish_reason"] == ("stop" if expected[-1] == reference[0].config.eos_token_id else "length")
        assert row % 2 or len(sink.row(row)) == 1


def test_a_stop_text_ends_the_generation_and_is_not_part_of_the_text(model, reference):
    ids = prompt(reference)
    whole = run(model, {"prompt": ids, "max_tokens": 30}).text()
    stop = first_seen(whole, 5)
    for pieces in (False, True):
        sink = run(model, {"prompt": ids, "max_tokens": 30, "stop": ["not there", stop], "pieces": pieces})
        assert sink.text() == whole[: whole.index(stop)]
        last = sink.row()[-1]
        assert last["finish_reason"] == "stop"
        assert last["tokens"] < 30


def test_a_stop_text_does_not_begin_in_the_prompt(model, reference):
    ids = prompt(reference)
    whole = run(model, {"prompt": ids, "max_tokens": 8}).text()
    across = reference[1].decode(ids)[-2:] + whole[:1]
    assert across not in whole
    assert run(model, {"prompt": ids, "max_tokens": 8, "stop": [across]}).text() == whole


def test_the_log_probabilities_are_those_of_the_model_before_temperature_and_penalties(model, reference):
    ids = prompt(reference)
    order = {"prompt": ids, "max_tokens": 6, "logprobs": 3, "do_sample": True, "temperature": 2.0, "top_k": 0}
    sink = run(model, {**order, "frequency_penalty": 1.0, "seed": 5, "pieces": True})
    tokens = [token for event in sink.row() for token in event["logprobs"]]
    generated = [int(reference[1].convert_tokens_to_ids(token)) for token in reference[1].tokenize(sink.text())]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace") == sink.text()
    network, tokenizer = reference
    sequence = list(ids)
    for token in tokens:
        with torch.no_grad():
            expected = network(torch.tensor([sequence])).logits[0, -1].log_softmax(dim=-1)
        best = expected.topk(3)
        assert [each["logprob"] for each in token["top"]] == pytest.approx(best.values.tolist(), abs=1e-4)
        found = [each for each in range(len(expected)) if abs(float(expected[each]) - token["logprob"]) < 1e-5]
        chosen = [each for each in found if tokenizer.decode([each]).encode() == bytes(token["bytes"])] or found
        sequence.append(chosen[0])
    assert len(tokens) == sink.row()[-1]["tokens"]
    assert generated


def test_tokens_of_a_stop_text_have_no_log_probabilities(model, reference):
    ids = prompt(reference)
    whole = run(model, {"prompt": ids, "max_tokens": 20, "logprobs": 0})
    text, stop = whole.text(), first_seen(whole.text(), 6)
    sink = run(model, {"prompt": ids, "max_tokens": 20, "logprobs": 0, "stop": [stop]})
    tokens = sink.row()[-1]["logprobs"]
    assert all(token["offset"] < text.index(stop) for token in tokens)
    assert 0 < len(tokens) <= sink.row()[-1]["tokens"]
    assert [token["top"] for token in tokens] == [[]] * len(tokens)


def test_a_bias_and_the_penalties_change_what_is_chosen(model, reference):
    ids = prompt(reference)
    forced = run(model, {"prompt": ids, "max_tokens": 4, "logit_bias": {"70": 100}})
    assert forced.text() == reference[1].decode([70] * 4)
    varied = run(model, {"prompt": ids, "max_tokens": 9, "logit_bias": {"70": 100}, "output_presence_penalty": 100})
    assert varied.text().count(reference[1].decode([70])) < 9


def test_equal_seeds_give_equal_texts_and_others_give_others(model, reference):
    order = {"prompt": prompt(reference), "max_tokens": 20, "do_sample": True, "top_k": 0}
    sink = run(model, *({**order, "seed": seed} for seed in (1, 1, 2)))
    assert sink.text(0) == sink.text(1) != sink.text(2)


def test_the_length_is_the_orders_or_what_is_usual_or_what_the_positions_leave(model, reference):
    ids, silent = prompt(reference), {"logit_bias": {str(reference[0].config.eos_token_id): -100}}
    sink = run(model, {"prompt": ids, "most_tokens": 7, **silent}, {"prompt": ids, **silent})
    assert [sink.row(row)[-1]["tokens"] for row in (0, 1)] == [7, 96 - len(ids)]


def test_a_client_that_leaves_stops_its_rows(model, reference):
    sink = run(model, {"prompt": prompt(reference), "max_tokens": 60, "pieces": True}, sink=Events(stays=5))
    assert sink.error is not None
    assert sink.error.code is Code.CANCELLED
    assert not sink.closed


def test_end_tokens_that_are_ignored_do_not_end_the_text(model, reference):
    ids, end = prompt(reference), reference[0].config.eos_token_id
    order = {"prompt": ids, "max_tokens": 6, "logit_bias": {str(end): 100}, "logprobs": 0}
    ended = run(model, order).row()[-1]
    ignored = run(model, {**order, "ignore_eos": True}).row()[-1]
    assert (ended["tokens"], ended["finish_reason"], len(ended["logprobs"])) == (1, "stop", 0)
    assert (ignored["tokens"], ignored["finish_reason"], len(ignored["logprobs"])) == (6, "length", 6)
    until = run(model, {**order, "ignore_eos": True, "stop_token_ids": [end]}).row()[-1]
    assert (until["tokens"], until["finish_reason"]) == (1, "stop")


@pytest.mark.parametrize("included", [False, True])
def test_a_stop_token_ends_the_text_and_is_part_of_it_only_if_asked_for(model, reference, included):
    ids = prompt(reference)
    generated = greedy(reference, ids, 30)
    place = next(place for place in range(2, 20) if generated[place] not in generated[:place])
    stop = {"stop_token_ids": [generated[place]], "include_stop_str_in_output": included}
    for pieces in (False, True):
        sink = run(model, {"prompt": ids, "max_tokens": 30, "pieces": pieces, "logprobs": 0, **stop})
        kept = place + 1 if included else place
        assert sink.text() == reference[1].decode(generated[:kept], skip_special_tokens=True)
        assert (sink.row()[-1]["tokens"], sink.row()[-1]["finish_reason"]) == (place + 1, "stop")
        assert sum(len(event["logprobs"]) for event in sink.row()) == kept
    late = run(model, {"prompt": ids, "max_tokens": 30, "min_tokens": place + 2, **stop})
    assert late.row()[-1]["tokens"] >= place + 2


def test_a_stop_text_can_be_part_of_the_text(model, reference):
    ids = prompt(reference)
    whole = run(model, {"prompt": ids, "max_tokens": 30}).text()
    stop = first_seen(whole, 5)
    for pieces in (False, True):
        order = {"prompt": ids, "max_tokens": 30, "stop": [stop], "include_stop_str_in_output": True}
        assert run(model, {**order, "pieces": pieces}).text() == whole[: whole.index(stop) + len(stop)]


def test_only_allowed_tokens_are_generated(model, reference):
    order = {
        "prompt": prompt(reference),
        "max_tokens": 30,
        "allowed_token_ids": [70, 71],
        "do_sample": True,
        "top_k": 0,
    }
    text = run(model, {**order, "seed": 3}).text()
    assert set(text) == set(reference[1].decode([70, 71]))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"prompt": []}, "'prompt': expected token ids"),
        ({"max_tokens": 3}, "'prompt': expected token ids"),
        ({"prompt": [1, True]}, "'prompt': expected a whole number from 0"),
        ({"prompt": [9999]}, "but the vocabulary has"),
        ({"prompt": [1], "temperatur": 1}, "did you mean 'temperature'"),
        ({"prompt": [1], "temperature": [1]}, "'temperature': expected a number"),
        ({"prompt": [1], "stop": "x"}, "'stop': expected at most 16 texts"),
        ({"prompt": [1], "stop": ["x" * 2000]}, "more than 1024 characters"),
        ({"prompt": [1], "logprobs": 21}, "'logprobs': expected a whole number from 0 to 20"),
        ({"prompt": [1], "logit_bias": {"a": 1}}, "'logit_bias': its names are not all token ids"),
        ({"prompt": [1], "logit_bias": {"1": 1e9}}, "'logit_bias': its values are not all"),
        ({"prompt": [1], "logit_bias": {"9999": 1}}, "logit_bias has token 9999, but the vocabulary"),
        ({"prompt": [1], "stop_token_ids": [9999]}, "stop_token_ids has token 9999, but the vocabulary"),
        ({"prompt": [1], "allowed_token_ids": [1, "2"]}, "'allowed_token_ids': expected whole numbers"),
        ({"prompt": [1], "allowed_token_ids": list(range(5000))}, "'allowed_token_ids': expected a list of at most"),
        ({"prompt": [1], "include_stop_str_in_output": 1}, "'include_stop_str_in_output': expected true or false"),
        ({"prompt": [1], "ignore_eos": True, "regex": "a"}, "ignore_eos contradicts a grammar"),
        ({"prompt": [1], "frequency_penalty": "1"}, "'frequency_penalty': expected a number from -100 to 100"),
        ({"prompt": [1], "pieces": 1}, "'pieces': expected true or false"),
        ({"prompt": [1], "max_tokens": 1000}, "but only 95 tokens are possible"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_by_name(model, order, message):
    sink = run(model, {"prompt": [5]}, order)
    assert sink.error is not None
    assert sink.error.code is Code.INVALID_ARG
    assert message in sink.error.message
    assert sink.error.message.startswith("row 1: ")
    assert not sink.events


def test_what_is_not_json_is_refused(model):
    sink = Events()
    model.run([({"completion": np.array([[b"{"]], dtype=np.object_)}, sink)])
    assert sink.error is not None
    assert sink.error.code is Code.INVALID_ARG


def test_without_a_length_a_text_may_become_as_long_as_the_memory_allows(tmp_path):
    llama = write_generator(tmp_path / "llama", "llama", max_position_embeddings=8192)
    small = CompletionModel(llama, {**PARAMETERS, "KV_CACHE_MIB": "1"}, name="m")  # 4096 tokens
    asked = run(small, {"prompt": [5] * 10, "max_tokens": 4096})
    assert "needs 4105 tokens of key-value memory (prompt and output), but the pool has 4096" in asked.error.message
    begun = run(small, {"prompt": [5] * 10}, sink=Events(stays=4))
    assert begun.error.code is Code.CANCELLED
    last = run(small, {"prompt": [5] * 4094, "ignore_eos": True})
    assert last.row()[-1]["tokens"] == 3
    full = run(small, {"prompt": [5] * 4097})
    assert "needs 4097 tokens" in full.error.message
    small.close()


def test_a_token_that_ends_the_text_is_not_part_of_it_even_if_it_is_an_ordinary_one(checkpoint, reference, tmp_path):
    ids = prompt(reference)
    new = greedy(reference, ids, 12)
    end = next(token for place, token in enumerate(new) if place >= 2 and token not in new[:place])
    copy = tmp_path / "gpt2"
    shutil.copytree(checkpoint, copy)
    settings = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [end]}))
    opened = CompletionModel(copy, PARAMETERS, name="m")
    try:
        found = run(opened, {"prompt": ids, "max_tokens": 12})
    finally:
        opened.close()
    assert found.text() == reference[1].decode(new[: new.index(end)])
    assert found.row()[-1]["finish_reason"] == "stop"
    assert found.row()[-1]["tokens"] == new.index(end) + 1
