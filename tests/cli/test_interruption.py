"""Ctrl-C and SIGTERM end a command with the exit code that a shell expects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from slipway.cli import main as cli
from slipway.cli.interruption import Terminated, ended_by_sigint, raise_on_sigterm
from tests.backends.python.engine_kit import methods, write_model
from tests.kits.signals import interruptible

SECONDS = 60
HANGING = methods("""
    def execute(self, requests):
        open(os.path.join(pb_utils.get_model_dir(), "hanging"), "w").close()
        time.sleep(1000)
""")


@pytest.fixture
def command(monkeypatch):
    """Return a function that makes every command do what the given function does."""

    def replace(run):
        monkeypatch.setattr(cli, "import_module", lambda _: SimpleNamespace(run=run))

    return replace


@pytest.mark.parametrize(
    ("interrupt", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt("nothing was written"), 130, "interrupted: nothing was written\n"),
        (Terminated(), 143, "interrupted\n"),
    ],
)
def test_an_interrupted_command_has_the_exit_code_of_its_signal(capsys, command, interrupt, code, line):
    def run(_arguments):
        raise interrupt

    command(run)
    assert cli.main(["check"]) == code
    assert capsys.readouterr().err == line


def test_sigterm_is_raised_where_there_is_something_to_clear_up():
    before = signal.getsignal(signal.SIGTERM)
    try:
        raise_on_sigterm()
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_while_libraries_are_imported_the_signal_itself_ends_the_process():
    with interruptible():
        with ended_by_sigint():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_the_signal_keeps_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_by_sigint():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_command_that_waits_for_a_hanging_model(tmp_path):
    directory = write_model(tmp_path / "models", "m", HANGING)
    with interruptible():
        process = subprocess.Popen(
            [sys.executable, "-m", "slipway", "verify", tmp_path / "models"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    deadline = time.monotonic() + SECONDS
    while not (directory / "hanging").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    printed, errors = process.communicate(timeout=15)
    assert (process.returncode, printed) == (130, "")
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors


@pytest.mark.parametrize("arguments", [["serve", "models"], ["--help"]])
def test_windows_is_refused_in_one_line(capsys, monkeypatch, arguments):
    monkeypatch.setattr(sys, "platform", "win32")
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err == "error: Slipway runs on Linux and macOS; on Windows, install it in WSL 2\n"
