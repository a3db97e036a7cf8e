"""What a chat reads from a file, and what it shows of a model's text."""

from __future__ import annotations

from io import StringIO

import pytest

from slipway.cli.chat.screen import ChatScreen, harmless


class Terminal(StringIO):
    """A text that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def texts(given: str) -> list[str]:
    screen = ChatScreen(StringIO(given), StringIO(), StringIO())
    return list(iter(screen.read, None))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        ("a\nb\n", ["a", "b"]),
        ("a", ["a"]),
        ("\n", [""]),
        ("a\\\nb\\\nc\nd\n", ["a\nb\nc", "d"]),
        ("a\\", ["a"]),
        ('"""\na\n\nb\\\n"""\nc\n', ["a\n\nb\\", "c"]),
        ('"""\na', ["a"]),
    ],
)
def test_each_line_is_a_text_unless_it_goes_on(given, expected):
    assert texts(given) == expected


def test_a_terminal_shows_control_characters_written_out_and_everything_else_as_it_is():
    text = "a\tb\n東京 🙂 é \u200d \x1b[2J\x07\r\x00\x7f\x9b1m\u202e"
    assert harmless(text) == "a\tb\n東京 🙂 é \u200d \\x1b[2J\\x07\\r\\x00\\x7f\\x9b1m\\u202e"
    shown, plain = Terminal(), StringIO()
    for target in (shown, plain):
        ChatScreen(StringIO(), target, StringIO()).piece("\x1b]0;title\x07")
    assert shown.getvalue() == "\\x1b]0;title\\x07"
    assert plain.getvalue() == "\x1b]0;title\x07"


def test_prompts_are_printed_only_if_somebody_types():
    notes = StringIO()
    ChatScreen(StringIO("a\n"), StringIO(), notes).read()
    assert notes.getvalue() == ""
    ChatScreen(Terminal("a\n"), StringIO(), notes).read()
    assert notes.getvalue() == ">>> "
