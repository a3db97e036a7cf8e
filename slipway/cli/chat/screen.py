"""What a chat reads and prints: lines of a terminal or of a file, and text that cannot control the terminal."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Final, TextIO

_ASK: Final = ">>> "
_MORE: Final = "... "
_BLOCK: Final = '"""'
# Characters that move the cursor, change colours or titles, or turn the order of what follows: all controls but the
# line feed and the tab, and the marks that override directions (Unicode, UAX 9).
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Return a text with its control characters written out."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@dataclass(slots=True)
class ChatScreen:
    """The two sides of a terminal, or what stands in their place."""

    source: TextIO
    target: TextIO
    notes: TextIO

    @classmethod
    def standard(cls) -> ChatScreen:
        """Return the screen of this process; a terminal gets line editing."""
        if isinstance(sys.stdin, TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # half a surrogate cannot be sent
        screen = cls(sys.stdin, sys.stdout, sys.stderr)
        if screen.interactive:
            import readline  # noqa: F401  gives `input` a history and keys
        return screen

    @property
    def interactive(self) -> bool:
        """Whether somebody types."""
        return self.source.isatty()

    def read(self) -> str | None:
        """Return the next text of the user, None if there is none any more."""
        line = self._line(_ASK)
        if line is None or line.strip() == _BLOCK:
            return None if line is None else self._block()
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            following = self._line(_MORE)
            if following is None:
                break
            lines.append(following)
        return "\n".join(lines)

    def _block(self) -> str:
        """Return the lines up to the next one of three quotation marks."""
        lines: list[str] = []
        while (line := self._line(_MORE)) is not None and line.strip() != _BLOCK:
            lines.append(line)
        return "\n".join(lines)

    def _line(self, prompt: str) -> str | None:
        if self.interactive and self.source is sys.stdin and self.target.isatty():
            try:
                return input(prompt)
            except EOFError:
                return None
        if self.interactive:
            self.note(prompt, end="")
        line = self.source.readline()
        return line.rstrip("\n") if line else None

    def piece(self, text: str) -> None:
        """Print a piece of an answer: as it is if it goes to a file or program."""
        self.target.write(harmless(text) if self.target.isatty() else text)
        self.target.flush()

    def end_answer(self) -> None:
        """Print the end of an answer."""
        self.target.write("\n")
        self.target.flush()

    def note(self, text: str, *, end: str = "\n") -> None:
        """Print what is not part of an answer."""
        self.notes.write(harmless(text) + end)
        self.notes.flush()
