"""The fields of OpenAI's bodies become decoding settings; what is out of range is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from slipway.rest.openai.chat import ChatRequest
from slipway.rest.openai.completions import CompletionRequest
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.refused_fields import OF_CHATS, OF_COMPLETIONS, refuse_fields
from slipway.rest.openai.sampling import CompletionPlan, plan_sequences


def plan(own: dict[str, str] | None = None, **fields: Any) -> CompletionPlan:
    request = msgspec.convert({"model": "m", "prompt": "", **fields}, CompletionRequest)
    return plan_sequences(
        request,
        own or {},
        limit=request.max_tokens,
        usual_limit=16,
        logprobs=request.logprobs,
        best_of=request.best_of,
    )


def settings(own: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in plan(own, **fields).order.items() if name not in ("pieces", "most_tokens")}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 9}, {"temperature": 0}),
        ({"top_p": 0}, {"temperature": 0}),
        ({"temperature": 0.7}, {"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 1.0}),
        ({"top_p": 0.9}, {"do_sample": True, "top_k": 0, "top_p": 0.9}),
        ({"top_k": -1, "min_p": 0.1}, {"do_sample": True, "top_k": 0, "top_p": 1.0, "min_p": 0.1}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"output_presence_penalty": 1, "frequency_penalty": -1}),
        ({"stop": "a"}, {"stop": ["a"]}),
        ({"stop": ["a", ""]}, {"stop": ["a"]}),
        ({"logit_bias": {"7": -100}}, {"logit_bias": {"7": -100}}),
        ({"logprobs": 0, "max_tokens": 3}, {"logprobs": 0, "max_tokens": 3}),
        ({"typical_p": 0.4}, {"do_sample": True, "top_k": 0, "top_p": 1.0, "typical_p": 0.4}),
        ({"ignore_eos": True, "stop_token_ids": [5]}, {"ignore_eos": True, "stop_token_ids": [5]}),
        ({"ignore_eos": False, "stop_token_ids": [], "allowed_token_ids": []}, {}),
        ({"include_stop_str_in_output": True}, {"include_stop_str_in_output": True}),
        ({"allowed_token_ids": [1, 2]}, {"allowed_token_ids": [1, 2]}),
    ],
)
def test_fields_become_settings(fields, expected):
    assert settings(**fields) == expected


def test_a_temperature_alone_keeps_the_filters_of_the_checkpoint():
    own = {"runtime_top_k": "20", "runtime_top_p": "0.8"}
    assert settings(own, temperature=1) == {"do_sample": True, "temperature": 1, "top_k": 20, "top_p": 0.8}
    assert settings(own, temperature=1, top_p=1, top_k=0)["top_k"] == 0
    assert settings(own) == {}


def test_each_sequence_has_its_own_seed_and_each_prompt_its_sequences():
    orders = [orjson.loads(order) for order in plan(n=2, seed=-1).orders([[1], [2]])]
    assert [order["prompt"] for order in orders] == [[1], [1], [2], [2]]
    assert [order["seed"] for order in orders] == [(1 << 63) - 1, 0, 1, 2]


def test_without_a_seed_two_requests_differ():
    assert plan().seed != plan().seed


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1_000_000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1 << 31}, "max_tokens"),
        ({"seed": 1 << 63}, "seed"),
        pytest.param({"top_k": 10**400}, "top_k", id="beyond any float"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logprobs": 21}, "logprobs"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": "a" * 1025}, "stop"),
        ({"typical_p": 0}, "typical_p"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"allowed_token_ids": list(range(100_000))}, "allowed_token_ids"),
        ({"stop": ["a"] * 100_000}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {str(token): 0 for token in range(1025)}}, "logit_bias"),
        pytest.param({"logit_bias": {str(token): 0 for token in range(100_000)}}, "logit_bias", id="100 000 biases"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(fields, parameter):
    with pytest.raises(ApiError) as caught:
        plan(**fields)
    assert caught.value.parameter == parameter


def test_fields_that_no_model_honours_are_refused_unless_they_ask_for_nothing():
    completion = msgspec.convert({"model": "m", "prompt": "", "suffix": None}, CompletionRequest)
    refuse_fields(completion, OF_COMPLETIONS)
    harmless = {
        "modalities": ["text"],
        "functions": [],
        "use_beam_search": False,
        "length_penalty": 1.0,
        "bad_words": [],
    }
    refuse_fields(msgspec.convert({"model": "m", "messages": [], **harmless}, ChatRequest), OF_CHATS)
    for name in OF_CHATS:
        request = msgspec.convert({"model": "m", "messages": [], name: {"type": "other"}}, ChatRequest)
        with pytest.raises(ApiError) as caught:
            refuse_fields(request, OF_CHATS)
        assert (caught.value.parameter, caught.value.kind) == (name, "unsupported_parameter")
