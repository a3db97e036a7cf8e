"""Texts of a random model that must follow a grammar: whole, in pieces, sampled, with stop texts, beside other rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import jsonschema
import numpy as np
import pytest

from slipway.errors import Code
from slipway.runtime import CompletionModel, GenerationModel
from slipway.runtime.grammars import checking
from slipway.runtime.grammars.source import GrammarSource
from tests.kits.generators import write_generator
from tests.runtime.test_completion_model import PARAMETERS, Events, run
from tests.runtime.test_generation_model import Sink

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 4}, "ages": {"type": "array", "items": {"type": "boolean"}}},
    "required": ["name", "ages"],
    "additionalProperties": False,
}
SCHEMA["properties"]["ages"]["maxItems"] = 2
SAMPLED = {"do_sample": True, "top_k": 0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_generator(tmp_path_factory.mktemp("checkpoint") / "gpt2", "gpt2", n_positions=512)


@pytest.fixture(scope="module")
def model(checkpoint) -> Iterator[CompletionModel]:
    opened = CompletionModel(checkpoint, PARAMETERS, name="m")
    yield opened
    opened.close()


def order(**members: Any) -> dict[str, Any]:
    return {"prompt": [5, 9, 70], "max_tokens": 400, **members}


@pytest.mark.parametrize("pieces", [False, True])
def test_every_text_under_a_schema_is_valid_greedy_and_sampled(model, pieces):
    orders = [order(json_schema=SCHEMA, pieces=pieces)]
    orders += [order(json_schema=SCHEMA, pieces=pieces, seed=seed, logprobs=2, **SAMPLED) for seed in range(6)]
    sink = run(model, *orders)
    assert sink.error is None
    for row in range(len(orders)):
        assert sink.row(row)[-1]["finish_reason"] == "stop"
        jsonschema.validate(json.loads(sink.text(row)), SCHEMA)
        assert pieces == (len(sink.row(row)) > 1)
    assert len({sink.text(row) for row in range(len(orders))}) > 1


def test_rows_with_and_without_a_grammar_run_together_and_do_not_change_each_other(model):
    orders = [
        order(regex=r"[ab]{2,5}\d", seed=1, **SAMPLED),
        order(max_tokens=9),
        order(guided_choice=["yes", "no way"], seed=2, **SAMPLED),
        order(max_tokens=9, seed=4, **SAMPLED),
        order(grammar='start: "a" b\nb: "x" | "y" b', seed=3, **SAMPLED),
    ]
    sink = run(model, *orders)
    alone = [run(model, each) for each in orders]
    assert [sink.text(row) for row in range(5)] == [each.text() for each in alone]
    assert re.fullmatch(r"[ab]{2,5}\d", sink.text(0))
    assert sink.text(2) in ("yes", "no way")
    assert re.fullmatch("ay*x", sink.text(4))


def test_a_stop_text_ends_a_text_before_its_grammar_is_complete(model):
    whole = run(model, order(regex="[ab]{6}c")).text()
    sink = run(model, order(regex="[ab]{6}c", stop=[whole[2:4]]))
    assert sink.text() == whole[: whole.index(whole[2:4])]
    assert sink.row()[-1]["finish_reason"] == "stop"


def test_a_text_that_reaches_its_maximum_length_is_cut_off(model):
    sink = run(model, order(regex="[ab]{40}", max_tokens=5))
    assert re.fullmatch("[ab]+", sink.text())
    assert sink.row()[-1]["finish_reason"] == "length"


def test_the_log_probabilities_are_still_those_of_the_model(model):
    free = run(model, order(max_tokens=1, logprobs=0, logit_bias={"65": 100})).row()[-1]["logprobs"]
    bound = run(model, order(max_tokens=1, logprobs=0, choice=[bytes(free[0]["bytes"]).decode()])).row()[-1]["logprobs"]
    assert bound[0]["logprob"] == pytest.approx(free[0]["logprob"], abs=1e-5)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"json_schema": {"not": {}}}, "the JSON schema cannot be followed"),
        ({"regex": "a", "choice": ["b"]}, "both say what the text must be"),
        ({"guided_regx": "a"}, "did you mean 'guided_regex'"),
        ({"choice": "x"}, "'choice': choices: "),
    ],
)
def test_an_order_whose_grammar_is_wrong_is_refused(model, members, message):
    sink = run(model, order(), order(**members))
    assert sink.error is not None
    assert sink.error.code is Code.INVALID_ARG
    assert message in sink.error.message
    assert sink.error.message.startswith("row 1: ")


def test_a_text_that_cannot_be_completed_fails_its_request_and_no_other(tmp_path):
    directory = write_generator(tmp_path / "t5", "t5")
    words = CompletionModel(directory, PARAMETERS, name="words")
    bad, good = (np.array([[json.dumps(order(max_tokens=20, regex=each)).encode()]], dtype=np.object_) for each in
                 ("the[{]", "the cat"))  # fmt: skip
    failed, done = Events(), Events()
    words.run([({"completion": bad}, failed), ({"completion": good}, done)])
    words.close()
    assert failed.error is not None
    assert failed.error.code is Code.INVALID_ARG
    assert "none of its tokens continues the text" in failed.error.message
    assert not failed.events
    assert done.text() == "the cat"


@pytest.mark.parametrize("settings", [{}, {"beam_width": 3, "num_return_sequences": 3}, {"do_sample": True, "n": 2}])
def test_a_generation_model_takes_the_same_arguments_as_parameters(checkpoint, settings):
    model = GenerationModel(checkpoint, PARAMETERS, name="g")
    sink = Sink()
    inputs = {"input_ids": np.array([[5, 9], [7, 70]]), "max_output_len": np.array([[30], [30]])}
    model.run(
        [({**inputs, "guided_choice": np.array(["ab", "b"]), **{k: np.array(v) for k, v in settings.items()}}, sink)]
    )
    model.close()
    assert sink.arrays is not None
    tokens = model._grammars._tokens
    for row, lengths in zip(sink.arrays["output_ids"], sink.arrays["sequence_length"], strict=True):
        for ids, length in zip(row, lengths, strict=True):
            if length:
                assert b"".join(map(tokens.of, ids[: length - 1].tolist())) in (b"ab", b"b")
                assert ids[length - 1] == 300
    assert sink.arrays["sequence_length"][:, 0].all()


def test_a_request_whose_grammar_has_to_be_checked_holds_up_no_other(checkpoint, monkeypatch):
    begun, go_on = Event(), Event()

    def slow(source: GrammarSource) -> dict[str, Any]:
        begun.set()
        assert go_on.wait(60)
        return {"problem": f"it takes too long to compile {source.text}"}

    monkeypatch.setattr(checking, "_ask", slow)
    model = GenerationModel(checkpoint, {**PARAMETERS, "max_output_len": "6"}, name="m")
    held, other = Sink(), Sink()
    ids = {"input_ids": np.array([[5, 9, 70]])}
    model.begin([({**ids, "regex": np.array("never seen before")}, held), (ids, other)])
    assert begun.wait(60)
    assert held.error is None
    go_on.set()
    model.close()
    assert other.arrays is not None
    assert "too long to compile never seen before" in held.error.message
