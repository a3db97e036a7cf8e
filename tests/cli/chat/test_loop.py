"""The turns of a chat with a server that is played by the test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

import pytest

from slipway.cli.chat.client import RefusedChatError
from slipway.cli.chat.conversation import Conversation
from slipway.cli.chat.loop import ChatLoop
from slipway.cli.chat.screen import ChatScreen
from slipway.errors import SlipwayError
from tests.cli.chat.test_screen import Terminal


class PlayedServer:
    """Answers each request with the pieces that come next; an exception among them is raised."""

    def __init__(self, *answers: list[Any]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.closed = 0

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((path, body))
        try:
            for piece in self._answers.pop(0):
                if isinstance(piece, BaseException):
                    raise piece
                yield {"choices": [{"delta": {"content": piece}}]}
        finally:
            self.closed += 1


class Chat:
    """What a chat printed."""

    def __init__(self, server: PlayedServer, given: str, *, typed: bool = False, **settings: Any) -> None:
        self.server = server
        self.out, self.notes = StringIO(), StringIO()
        self.conversation = Conversation("m", {}, **settings)
        screen = ChatScreen((Terminal if typed else StringIO)(given), self.out, self.notes)
        self.loop = ChatLoop(server, self.conversation, screen)

    def run(self) -> Chat:
        self.loop.run()
        return self


def test_answers_are_printed_and_remembered():
    chat = Chat(PlayedServer(["b", "c"], ["e"]), "a\nd\n", system="s").run()
    assert chat.out.getvalue() == "bc\ne\n"
    assert chat.notes.getvalue() == ""
    said = [message["content"] for message in chat.server.asked[1][1]["messages"]]
    assert said == ["s", "a", "bc", "d"]


def test_a_chat_can_be_forgotten_saved_and_ended(tmp_path):
    file = tmp_path / "chat.json"
    chat = Chat(PlayedServer(["b"], ["d"]), f"a\n/reset\nc\n/save {file}\n/exit\nnever\n").run()
    assert len(chat.server.asked) == 2
    assert json.loads(file.read_text())["messages"] == [
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]


def test_empty_lines_are_passed_over_and_slashes_can_be_sent():
    chat = Chat(PlayedServer(["x"], ["y"]), "\n  \n//exit\n/usr/bin is what?\n").run()
    assert [body["messages"][-1]["content"] for _, body in chat.server.asked] == ["/exit", "/usr/bin is what?"]


def test_a_script_ends_with_its_first_mistake():
    with pytest.raises(SlipwayError, match="did you mean '/reset'"):
        Chat(PlayedServer(), "/rest\n").run()
    with pytest.raises(RefusedChatError, match="too long"):
        Chat(PlayedServer([RefusedChatError("too long")]), "a\nb\n").run()


def test_somebody_who_types_can_go_on_after_a_mistake():
    chat = Chat(PlayedServer([RefusedChatError("too long")], ["c"]), "a\n/x\nb\n/save\n/help\n", typed=True).run()
    notes = chat.notes.getvalue()
    for text in (
        "error: too long",
        "unknown command '/x'",
        "/save needs the name of a file",
        "forget the conversation",
    ):
        assert text in notes
    assert [message["content"] for message in chat.server.asked[1][1]["messages"]] == ["b"]


def test_an_interrupt_stops_the_answer_and_not_the_chat():
    chat = Chat(PlayedServer(["b", KeyboardInterrupt()], ["d"]), "a\nc\n", typed=True).run()
    assert chat.server.closed == 2
    assert "(stopped)" in chat.notes.getvalue()
    assert [message["content"] for message in chat.server.asked[1][1]["messages"]] == ["a", "b", "c"]
    with pytest.raises(KeyboardInterrupt):
        Chat(PlayedServer(["b", KeyboardInterrupt()]), "a\n").run()


def test_a_model_without_a_template_continues_texts():
    refusal = RefusedChatError("no chat template", "model_not_supported")
    chat = Chat(PlayedServer([refusal], ["b"], ["d"]), "a\nc\n").run()
    assert chat.out.getvalue() == "b\nd\n"
    assert [path for path, _ in chat.server.asked] == ["v1/chat/completions", "v1/completions", "v1/completions"]
    assert chat.server.asked[2][1]["prompt"] == "c"
    with pytest.raises(RefusedChatError):  # it cannot read the system message
        Chat(PlayedServer([refusal]), "a\n", system="s").run()
