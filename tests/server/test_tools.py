"""Calls of tools through the clients of OpenAI and LangChain, unmodified: whole, streamed, and back with a result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from benchmarks.serving import RunningServer
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.servers import served
from tests.kits.steered_models import write_tool_caller

ASKED: list[Any] = [{"role": "user", "content": "How far is the Moon?"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "distance",
        "description": "Distance to a body",
        "parameters": {"type": "object", "properties": {"body": {"type": "string"}}, "required": ["body"]},
    },
}
SETTINGS: dict[str, Any] = {"model": "caller", "messages": ASKED, "tools": [TOOL]}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("tools")
    convert(write_tool_caller(root / "source"), ConvertOptions("caller", root / "models", "torch", precision="fp32"))
    with served(root / "models") as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{server.http}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_a_call_comes_apart_from_the_text_before_it(client):
    choice = client.chat.completions.create(**SETTINGS).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    (call,) = choice.message.tool_calls
    assert call.function.name == "distance"
    assert json.loads(call.function.arguments) == {"body": "Moon"}


def test_a_result_goes_back_with_the_call_and_the_model_speaks_of_it(client):
    message = client.chat.completions.create(**SETTINGS).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "384400"}
    answer = client.chat.completions.create(**{**SETTINGS, "messages": [*ASKED, message, result]})
    assert answer.choices[0].message.content == "It is 384,400 km away."
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_call_is_put_together_by_the_client_to_the_whole_one(client):
    whole = client.chat.completions.create(**SETTINGS, logprobs=True).choices[0]
    with client.chat.completions.stream(**SETTINGS, logprobs=True) as stream:
        kinds = {event.type for event in stream}
        found = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.delta" in kinds
    assert found.finish_reason == "tool_calls"
    assert found.message.content == whole.message.content
    (call,) = found.message.tool_calls
    (expected,) = whole.message.tool_calls
    assert (call.function.name, call.function.arguments) == (expected.function.name, expected.function.arguments)
    assert [token.bytes for token in found.logprobs.content] == [token.bytes for token in whole.logprobs.content]


@pytest.mark.parametrize("choice", ["none", None])
def test_tools_are_not_shown_if_they_may_not_be_called(client, choice):
    tools = {"tool_choice": choice} if choice else {"tools": openai.omit}
    answer = client.chat.completions.create(**{**SETTINGS, **tools}).choices[0]
    assert answer.message.content == "No tools here."
    assert answer.message.tool_calls is None


def test_calls_of_functions_that_the_request_does_not_have_stay_text(client):
    tools = [{**TOOL, "function": {**TOOL["function"], "name": "distances"}}]
    choice = client.chat.completions.create(**{**SETTINGS, "tools": tools}).choices[0]
    assert choice.message.content.startswith('Let me look. <tool_call>\n{"name": "distance"')
    assert choice.finish_reason == "stop"


def test_clients_that_set_the_usual_values_are_understood(client):
    answer = client.chat.completions.create(**SETTINGS, tool_choice="auto", parallel_tool_calls=False)
    assert len(answer.choices[0].message.tool_calls) == 1
    plain = {"model": "caller", "messages": ASKED}
    assert client.chat.completions.create(**plain, tool_choice="none").choices[0].finish_reason == "stop"


REFUSED = [
    ({"tools": [TOOL, TOOL]}, None, "has the name 'distance'"),
    ({"tools": [TOOL] * 10_000}, "array_above_max_length", "at most 128"),
    ({"tools": [{**TOOL, "functio": 1}]}, "unknown_parameter", "did you mean 'function'"),
    ({"tool_choice": {"type": "function", "function": {"name": "distance"}}}, "unsupported_parameter", "'distance'"),
]


@pytest.mark.parametrize(("fields", "code", "text"), REFUSED)
def test_tools_that_are_not_valid_are_refused(client, fields, code, text):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**SETTINGS, **fields})
    assert text in caught.value.message
    assert caught.value.code == code


def test_langchain_binds_tools(server):
    from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def distance(body: str) -> str:
        """Distance to a body."""
        return {"Moon": "384400"}[body]

    chat = ChatOpenAI(model="caller", base_url=f"http://{server.http}/v1", api_key="none", max_retries=0)
    bound = chat.bind_tools([distance])
    asked = HumanMessage("How far is the Moon?")
    answer = bound.invoke([asked])
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("distance", {"body": "Moon"})]
    streamed: Any = AIMessageChunk("")
    for chunk in bound.stream([asked]):
        streamed += chunk
    assert [(call["name"], call["args"]) for call in streamed.tool_calls] == [("distance", {"body": "Moon"})]
    results = [ToolMessage(distance.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
    assert bound.invoke([asked, answer, *results]).content == "It is 384,400 km away."
