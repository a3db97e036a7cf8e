"""Calls of tools through the clients of OpenAI and LangChain, unmodified: whole, streamed, and back with a result; and
`slipway chat` in a terminal and in a script."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from benchmarks.serving import RunningServer
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.servers import served
from tests.kits.steered_models import POSITIONS, write_tool_caller

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
def repository(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tools")
    convert(write_tool_caller(root / "source"), ConvertOptions("caller", root / "models", "torch", precision="fp32"))
    with (root / "models/caller-completions/config.pbtxt").open("a") as config:
        config.write(f'parameters {{ key: "LONGEST_OUTPUT" value {{ string_value: "{POSITIONS}" }} }}\n')
    return root / "models"


@pytest.fixture(scope="module")
def server(repository) -> Iterator[RunningServer]:
    with served(repository) as running:
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


IMPOSSIBLE = {"type": "function", "function": {"name": "f", "parameters": {"type": 7}}}
REFUSED = [
    ({"tools": [TOOL, TOOL]}, None, "has the name 'distance'"),
    ({"tools": [TOOL] * 10_000}, "array_above_max_length", "at most 128"),
    ({"tools": [{**TOOL, "functio": 1}]}, "unknown_parameter", "did you mean 'function'"),
    ({"tool_choice": {"type": "function", "function": {"name": "distances"}}}, None, "did you mean 'distance'"),
    (
        {"tool_choice": "required", "response_format": {"type": "json_object"}},
        None,
        "calls of tools and of another form",
    ),
    (
        {
            "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 7}}}],
        },
        None,
        "'tools' cannot be forced",
    ),
]


@pytest.mark.parametrize(("fields", "code", "text"), REFUSED)
def test_tools_that_are_not_valid_are_refused(client, fields, code, text):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**SETTINGS, **fields})
    assert text in caught.value.message
    assert caught.value.code == code


MOONS = {
    "type": "function",
    "function": {
        "name": "moons",
        "parameters": {
            "type": "object",
            "properties": {"of": {"$ref": "#/$defs/Planet"}, "most": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["of", "most"],
            "additionalProperties": False,
            "$defs": {"Planet": {"enum": ["Earth", "Mars"]}},
        },
    },
}
FORCED = {"type": "function", "function": {"name": "moons"}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", FORCED], ids=["any", "named"])
def test_a_required_call_follows_the_schema_whatever_the_model_would_say(client, choice, stream):
    given = {**SETTINGS, "tools": [MOONS], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 200}
    if stream:
        with client.chat.completions.stream(**given) as events:
            found = events.get_final_completion().choices[0]
    else:
        found = client.chat.completions.create(**given).choices[0]
    assert found.finish_reason == "tool_calls"
    assert not found.message.content
    (call,) = found.message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert (call.function.name, set(arguments)) == ("moons", {"of", "most"})
    assert arguments["of"] in ("Earth", "Mars")
    assert arguments["most"] in range(10)


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


# Makes its terminal the controlling one, so that Ctrl-C in it is a signal, and becomes the command that follows.
IN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "slipway", *sys.argv[1:]])
"""
WAIT_S = 60
AGAIN_S = 10  # longer than an answer to a key takes on a busy machine


class Typist:
    """Somebody at a terminal in which a command runs."""

    def __init__(self, *words: str) -> None:
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *words], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def sees(self, text: str, *, pressing: str = "") -> None:
        """Press a key if one is given, and read until a text has come; fail if it does not. The key is pressed again
        when the text does not come for a while: Python drops an interrupt that arrives inside a finaliser, and one that
        arrives before the terminal is read waits for the next."""
        deadline = time.monotonic() + WAIT_S
        pressed = time.monotonic()
        self.type(pressing)
        while text not in self._seen:
            now = time.monotonic()
            assert now < deadline, f"{text!r} did not come after {self._seen[-500:]!r}"
            if now - pressed > AGAIN_S:
                self.type(pressing)
                pressed = now
            ready, _, _ = select.select([self._terminal], [], [], 1)
            if ready:
                self._seen += os.read(self._terminal, 4096).decode(errors="replace")
        self._seen = self._seen.partition(text)[2]

    def leave(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._terminal)


@pytest.fixture
def typist(server) -> Iterator[Typist]:
    found = Typist("chat", "caller", "--server", server.http)
    try:
        yield found
    finally:
        found.leave()


def counted(server: RunningServer, sample: str) -> float:
    """Return the value of a sample of the metrics, 0 if it is not there."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=20) as response:
        lines = response.read().decode().splitlines()
    return next((float(line.removeprefix(sample)) for line in lines if line.startswith(f"{sample} ")), 0.0)


def test_an_answer_can_be_stopped_in_the_terminal_and_the_chat_goes_on(server, typist):
    aborted = 'vllm:request_success_total{finished_reason="abort",model_name="caller"}'
    before = counted(server, aborted)
    typist.sees("caller: /help")
    typist.sees(">>> ")
    typist.type("go on\n")
    typist.sees("round and round")
    typist.sees("(stopped)", pressing="\x03")
    typist.sees(">>> ")
    deadline = time.monotonic() + WAIT_S
    while counted(server, aborted) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counted(server, aborted) == before + 1
    typist.type("How far?\n")
    typist.sees("No tools here.")
    typist.sees(">>> ")
    typist.sees("ends the chat", pressing="\x03")
    typist.sees(">>> ")
    typist.type("\x04")
    assert typist.process.wait(WAIT_S) == 0


def test_the_running_batch_and_the_answers_are_counted_under_the_names_of_vllm(server, client):
    def of(name: str, **labels: str) -> float:
        shown = ",".join(f'{key}="{value}"' for key, value in sorted({"model_name": "caller", **labels}.items()))
        return counted(server, f"vllm:{name}{{{shown}}}")

    before = of("prompt_tokens_total")
    stopped = of("request_success_total", finished_reason="stop")
    usage = client.chat.completions.create(model="caller", messages=ASKED).usage
    assert of("prompt_tokens_total") == before + usage.prompt_tokens
    assert of("request_success_total", finished_reason="stop") == stopped + 1
    list(client.chat.completions.create(model="caller", messages=ASKED, stream=True))
    for name in ("time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds"):
        assert of(f"{name}_count") >= 1
    deadline = time.monotonic() + WAIT_S  # the engine's figures follow within a second
    while of("prefix_cache_queries_total") < 2 * usage.prompt_tokens and time.monotonic() < deadline:
        time.sleep(0.05)
    assert of("prefix_cache_queries_total") >= 2 * usage.prompt_tokens
    long = {"model": "caller", "messages": [{"role": "user", "content": "go on"}], "stream": True}
    with client.chat.completions.create(**long) as stream:
        next(stream)
        while not of("num_requests_running") and time.monotonic() < deadline:
            next(stream)
        assert of("num_requests_running") == 1
        assert 0 < of("kv_cache_usage_perc") <= 1
    while of("num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert of("num_requests_running") == 0


def chat(*words: str, given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slipway", "chat", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, check=False)


def test_a_script_gets_the_answers_alone(server, tmp_path):
    file = tmp_path / "said.json"
    run = chat(f"http://{server.http}/v1", "--system", "be brief", given=f"How far?\nAnd now?\n/save {file}\n")
    assert (run.returncode, run.stdout) == (0, "No tools here.\nNo tools here.\n")
    said = json.loads(file.read_text())["messages"]
    assert [message["role"] for message in said] == ["system", *["user", "assistant"] * 2]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["callers"], "the server has no model 'callers'; did you mean 'caller'?"),
        (["caller", "--temperature", "9"], "'temperature' is 9, expected 0 to 2"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(server, words, text):
    run = chat(*words, "--server", server.http, given="hello\n")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: ")
    assert text in run.stderr


def test_a_server_that_is_not_there_is_named():
    run = chat("caller", "--server", "127.0.0.1:9", given="hello\n")
    assert run.returncode == 1
    assert "no server answers at 127.0.0.1:9" in run.stderr


def is_served(repository: Path) -> bool:
    """Return whether a chat's own server runs for a repository."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "slipway.cli.chat.own_server" in words and str(repository) in words:
                return True
    return False


def test_a_source_is_served_for_the_time_of_the_chat(repository):
    run = chat(str(repository), given="How far?\n")
    assert (run.returncode, run.stdout) == (0, "No tools here.\n"), run.stderr
    assert not is_served(repository)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_the_server_of_a_chat_ends_with_it_even_if_it_is_killed(repository):
    command = [sys.executable, "-m", "slipway", "chat", str(repository)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write("How far?\n")
        process.stdin.flush()
        assert process.stdout.readline() == "No tools here.\n"
        assert is_served(repository)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + WAIT_S
    while is_served(repository) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_served(repository)
