"""The progress line of a terminal, and the lines that a pipe gets."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios

import pytest

from slipway.cli.progress import progress
from slipway.convert.steps import ConversionStep

STEP = ConversionStep(3, 9, "building an engine with quite a long name (smoothed)", 42.0)


def drawn(columns: int, *, verbose: bool = False) -> str:
    """Return what a terminal of that width receives until the step has been shown."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    seen = ""
    with os.fdopen(terminal, "w", encoding="utf-8") as stream, progress(stream, verbose=verbose) as show:
        show(STEP)
        while "step 3 of 9" not in seen:
            seen += os.read(controller, 65536).decode()
    os.close(controller)
    return seen


def test_a_pipe_gets_a_line_per_step():
    stream = io.StringIO()
    with progress(stream) as show:
        show(ConversionStep(1, 0, "reading"))
        show(STEP)
    assert stream.getvalue() == (
        "step 1: reading\nstep 3 of 9: building an engine with quite a long name (smoothed), about 40 s left\n"
    )


def test_a_terminal_gets_one_line_that_is_redrawn():
    seen = drawn(120)
    assert "\n" not in seen
    assert re.search(
        r"\d s, step 3 of 9: building an engine with quite a long name \(smoothed\), about 40 s left", seen
    )


@pytest.mark.parametrize("columns", [40, 80])
def test_the_line_is_shorter_than_the_terminal(columns):
    lines = drawn(columns).replace("\033[K", "").split("\r")
    assert max(map(len, lines)) < columns


def test_with_verbose_a_terminal_gets_a_line_per_step():
    assert drawn(80, verbose=True).startswith("step 3 of 9: building")
