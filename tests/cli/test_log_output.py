"""A log that cannot be written costs its lines and nothing else."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from slipway.cli.log_output import LogHandler, UnbufferedText
from tests.attacks.conftest import CONFIG, Target

SECONDS = 60
FULL = Path("/dev/full")


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("slipway.test", logging.INFO, "engine.py", 1, message, (), None)


class Disk(UnbufferedText):
    """A log file on a disk that can be full."""

    def __init__(self, path: Path) -> None:
        super().__init__(os.open(path, os.O_WRONLY | os.O_CREAT))
        self.is_full = False

    def write(self, text: str) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().write(text)


def test_lost_lines_are_reported_once_and_counted_when_the_disk_has_room_again(tmp_path, capfd):
    disk = Disk(tmp_path / "log")
    handler = LogHandler(disk)
    for message, is_full in [("a", False), ("b", True), ("c", True), ("d", True), ("e", False), ("f", False)]:
        disk.is_full = is_full
        handler.handle(record(message))
    assert (tmp_path / "log").read_text() == "a\n3 log lines could not be written\ne\nf\n"
    said = "warning: the log cannot be written: No space left on device; lines are lost until it can\n"
    assert capfd.readouterr().err == said
    disk.is_full = True
    handler.handle(record("g"))
    assert capfd.readouterr().err == said


def test_a_line_that_was_torn_does_not_join_the_next(tmp_path, monkeypatch):
    text = UnbufferedText(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    write, room = os.write, [3, 0]

    def partly(descriptor, data):
        if not room:
            return write(descriptor, data)
        size = room.pop(0)
        if not size:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:size])

    monkeypatch.setattr(os, "write", partly)
    with pytest.raises(OSError, match="No space left"):
        text.write("torn line\n")
    text.write("next\n")
    assert (tmp_path / "log").read_text() == "tor\nnext\n"


def test_a_message_that_is_not_utf8_is_written(tmp_path):
    text = UnbufferedText(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    text.write("\ud800\n")
    assert (tmp_path / "log").read_text() == "\\ud800\n"


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("where", ["log file", "standard error"])
def test_a_server_with_a_full_log_disk_serves_and_ends_as_always(tmp_path, where):
    (tmp_path / "models" / "fp32" / "1").mkdir(parents=True)
    (tmp_path / "models" / "fp32" / "config.pbtxt").write_text(CONFIG.format(kind="TYPE_FP32", dims="16", batch=8))
    flags = ["--http-port=0", "--allow-grpc=false", "--allow-metrics=false"]
    flags += [f"--log-file={FULL}"] if where == "log file" else []
    said = FULL if where == "standard error" else tmp_path / "said"
    with said.open("wb") as output:
        command = [sys.executable, "-m", "slipway", "serve", str(tmp_path / "models"), *flags]
        process = subprocess.Popen(command, stderr=output)
    try:
        target = Target(listening_port(process.pid), process.pid)
        for _ in range(20):
            assert target.ask("POST", "/v2/repository/models/none/load", b"{}").status == 503
        assert target.ask("GET", "/v2/health/ready").status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)
    assert code == 0
    if where == "log file":
        assert re.fullmatch("warning: the log cannot be written: No space left on device.*\n", said.read_text())


def listening_port(pid: int) -> int:
    """Return the port that a process listens on, once it does: its log cannot be read."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ports = [each.laddr.port for each in psutil.Process(pid).net_connections("tcp4") if each.status == "LISTEN"]
        if ports:
            return int(ports[0])
        time.sleep(0.05)
    raise TimeoutError
