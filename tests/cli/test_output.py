"""Printed text fits the terminal, and a pipe gets whole lines."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from slipway.cli.main import COMMANDS, main
from slipway.cli.output import for_reading, output_width
from tests.kits.repositories import add_identity, write_config

LONG = "  error /models/m/config.pbtxt:6:30 the preferred size 16 is above the maximum batch size, which is 8"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_a_long_line_is_folded_on_a_terminal_with_its_indent_and_whole_in_a_pipe():
    assert for_reading(LONG, Terminal()).splitlines() == [
        "  error /models/m/config.pbtxt:6:30 the preferred size 16 is above the maximum",
        "    batch size, which is 8",
    ]
    assert for_reading(LONG, io.StringIO()) == LONG


def test_a_path_is_never_broken():
    path = "/a/long-path" * 10
    assert path in for_reading(f"wrote {path}", Terminal()).splitlines()[1]


@pytest.mark.parametrize(("columns", "expected"), [("100", 100), ("20", 40)])
def test_the_width_is_the_terminals(monkeypatch, columns, expected):
    monkeypatch.setenv("COLUMNS", columns)
    assert output_width() == expected


def test_without_a_terminal_the_width_is_80(monkeypatch):
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: (_ for _ in ()).throw(OSError))
    assert output_width() == 80


def test_check_and_verify_fit_a_terminal_of_80_columns(tmp_path):
    add_identity(tmp_path, "a-model-whose-name-is-so-long-that-a-table-has-little-room-for-it")
    write_config(tmp_path, "empty", 'backend: "onnxruntime"\n')
    for words in (["check", str(tmp_path)], ["check", "--rules"], ["verify", str(tmp_path)]):
        printed = shown_on_a_terminal(words)
        assert printed
        assert [line for line in printed if len(line) > 80 and len(line.split()) > 1] == []


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_80_columns(command, capsys):
    words = ["--help"] if command is None else [command, "--help"]
    with suppress(SystemExit):
        main(words)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert [line for line in lines if len(line) > 80] == []


def shown_on_a_terminal(words: list[str]) -> list[str]:
    """Return the lines that a command prints to a terminal, without colours."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "slipway", *words]
    environment = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(terminal)
        seen = b""
        try:
            while block := os.read(controller, 4096):
                seen += block
        except OSError:  # how the end of a closed terminal shows
            pass
        finally:
            os.close(controller)
        process.wait()
    return seen.decode().replace("\r\n", "\n").splitlines()
