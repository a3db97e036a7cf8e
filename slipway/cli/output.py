"""What a command prints: fitted to the terminal's width, and apart from what user code and native libraries print.

Python models run in child processes that inherit standard output, and C++ libraries write to it at will; a command
that prints one document must be the only writer.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_STDOUT: Final = 1
_STDERR: Final = 2
WIDTH: Final = 80  # without a terminal, and unless COLUMNS says otherwise
_LEAST: Final = 40  # of a narrower terminal, which breaks lines itself
_HANG: Final = "  "
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def output_width() -> int:
    """Return the columns that printed tables may use: those of the terminal, or 80 without one."""
    return max(shutil.get_terminal_size((WIDTH, 0)).columns, _LEAST)


def visible(text: str) -> str:
    """Return the text with control characters other than line ends and tabs spelled out as hexadecimal escapes: what
    others wrote must not command the terminal."""
    return text.translate(_CONTROLS)


def for_reading(text: str, stream: TextIO | None = None) -> str:
    """Return the text with long lines folded between words if `stream` (standard output) is a terminal; a pipe gets
    every line whole, as programs such as grep expect."""
    return fold(text) if (stream or sys.stdout).isatty() else text


def fold(text: str) -> str:
    """Return the text with long lines folded between words, and the rest of a line indented."""
    return "\n".join(_folded(line, output_width()) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + _HANG,
        break_long_words=False,  # a path stays in one piece, to be copied
        break_on_hyphens=False,
    )


@contextmanager
def others_on_stderr() -> Iterator[None]:
    """Redirect what this process and its children write to standard output inside the block to standard error."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, _STDOUT)
        os.close(kept)
