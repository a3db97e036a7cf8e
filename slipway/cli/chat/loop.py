"""The turns of a chat: a text of the user, a command or the answer to it, until the input ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.cli.chat.client import ChatClient, RefusedChatError
from slipway.cli.chat.conversation import Conversation, piece_of
from slipway.cli.chat.screen import ChatScreen
from slipway.errors import SlipwayError, invalid
from slipway.nearest import nearest_or_all

_WELCOME: Final = "/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends"
_NO_TEMPLATE: Final = "model_not_supported"  # the server's word for a model that does not know conversations


class ChatEndError(Exception):
    """The user ends the chat."""


@dataclass(slots=True)
class ChatLoop:
    """A chat with one model of a server."""

    client: ChatClient
    conversation: Conversation
    screen: ChatScreen

    def run(self) -> None:
        """Answer until the user ends. An error ends the chat only if nobody types: raise it then."""
        if self.screen.interactive:
            self.screen.note(f"{self.conversation.model}: {_WELCOME}")
        while True:
            try:
                text = self.screen.read()
                if text is None:
                    break
                if text.strip():
                    self._turn(text)
            except ChatEndError:
                return
            except KeyboardInterrupt:
                if not self.screen.interactive:
                    raise
                self.screen.note("\n(Ctrl-D or /exit ends the chat)")
            except (SlipwayError, OSError) as error:
                if not self.screen.interactive or isinstance(error, BrokenPipeError):
                    raise
                self.screen.note(f"error: {error}")
        if self.screen.interactive:
            self.screen.note("")

    def _turn(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        if name.startswith("//"):
            text = text[1:]
        elif name.startswith("/") and "/" not in name[1:] and "\n" not in text:
            command = COMMANDS.get(name)
            if command is None:
                raise invalid(
                    f"unknown command '{name}'{nearest_or_all(name, COMMANDS)}; // begins a text with a slash"
                )
            command.run(self, rest.strip())
            return
        try:
            self._answer(text)
        except RefusedChatError as error:
            if error.kind != _NO_TEMPLATE or not self.conversation.remembers:
                raise
            self._continue_only(error)
            self._answer(text)

    def _continue_only(self, error: RefusedChatError) -> None:
        """Go on without conversations, which the model does not know."""
        if self.conversation.system:
            raise error
        self.conversation.remembers = False
        self.screen.note(f"{self.conversation.model} has no chat template: each text is continued, without history")

    def _answer(self, text: str) -> None:
        """Print the answer to a text as it comes, and remember both. Ctrl-C closes the connection, which stops the
        server's work."""
        answer: list[str] = []
        events = self.client.stream(self.conversation.path, self.conversation.request(text))
        try:
            with closing(events):
                for event in events:
                    if piece := piece_of(event):
                        answer.append(piece)
                        self.screen.piece(piece)
        except KeyboardInterrupt:
            if not self.screen.interactive:
                raise
            self.screen.note("\n(stopped)" if answer else "(stopped)")
        except (SlipwayError, OSError):
            if answer:
                self.screen.end_answer()
            raise
        else:
            self.screen.end_answer()
        if answer:
            self.conversation.add(text, "".join(answer))


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command inside a chat."""

    run: Callable[[ChatLoop, str], None]
    summary: str


def _help(loop: ChatLoop, _: str) -> None:
    for name, command in COMMANDS.items():
        loop.screen.note(f"  {name:<12} {command.summary}")


def _reset(loop: ChatLoop, _: str) -> None:
    loop.conversation.reset()


def _save(loop: ChatLoop, name: str) -> None:
    if not name:
        raise invalid("/save needs the name of a file")
    path = Path(name).expanduser()
    path.write_bytes(loop.conversation.document())
    loop.screen.note(f"saved to '{path}'")


def _exit(_: ChatLoop, __: str) -> None:
    raise ChatEndError


COMMANDS: Final = {
    "/help": ChatCommand(_help, "list these commands"),
    "/reset": ChatCommand(_reset, "forget the conversation, except the system message"),
    "/save": ChatCommand(_save, "/save FILE writes the conversation to a file, as JSON"),
    "/exit": ChatCommand(_exit, "end the chat"),
}
