"""Jobs for `tests/cli/test_confined.py`: what foreign files may do to the process that opens them."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.convert.steps import ConversionStep
from slipway.errors import Code, refused
from slipway.problems import Problem, Rule


def work(job: Job, console: Console) -> str:
    """Do what the first word says."""
    name, *words = job.words
    return globals()[f"_{name}"](job, console, *words)


def _talk(_job: Job, console: Console) -> str:
    console.step(ConversionStep(2, 3, "talking", 4.5, "torch fp32"))
    console.say("said")
    console.warn("warned")
    return "done"


def _escape(_job: Job, console: Console, then: str) -> str:
    """Say what a file contains, with commands for the terminal in it."""
    text = "a\x1b]0;title\x07\x9b2J\tb\r\n"
    console.step(ConversionStep(1, 1, text))
    console.say(text)
    console.warn(text)
    if then == "refuse":
        raise refused(Problem(Rule.FILE_MISSING, text, fix=text))
    if then == "raise":
        raise RuntimeError(text)
    if then == "crash":
        sys.stderr.write('Fatal Python error (most recent call first):\n  File "a\x1b[1mb", line 1 in c\n')
        sys.stderr.flush()
        os._exit(1)
    return text


def _isolation(job: Job, _console: Console) -> str:
    return job.isolation


def _exit(_job: Job, _console: Console, code: str) -> str:
    os._exit(int(code))


def _allocate(_job: Job, console: Console, size: str) -> str:
    console.step(ConversionStep(1, 1, "reading"))
    return str(len(bytearray(int(size))))


def _segfault(_job: Job, console: Console, candidate: str = "") -> str:
    console.step(ConversionStep(1, 1, "building", None, candidate))
    ctypes.string_at(0)
    return ""


def _hang(_job: Job, console: Console, pid_file: str) -> str:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path(pid_file).write_text(f"{os.getpid()} {grandchild.pid}")
    console.step(ConversionStep(1, 1, "reading"))
    time.sleep(1000)
    return ""


def _connect(job: Job, _console: Console, port: str) -> str:
    try:
        socket.create_connection(("127.0.0.1", int(port)), timeout=10).close()
    except OSError:
        return "cut"
    return job.exposed or "connected"


def _surprise(_job: Job, _console: Console) -> str:
    sys.stdout.write("a library prints\n")
    raise RecursionError("too deep")


def _refuse(_job: Job, _console: Console) -> str:
    raise refused(Problem(Rule.FILE_MISSING, "there is no file", fix="put one there"), code=Code.UNSUPPORTED)


def _write(_job: Job, console: Console, then: str) -> str:
    with console.stage(["a", "b"]) as directory:
        (directory / "a").write_text("new")
        if then == "die":
            os._exit(3)
    return str(directory)


def _litter(_job: Job, _console: Console) -> str:
    path = Path(tempfile.mkdtemp())
    (path / "file").write_text("left")
    return str(path)


def _garble(_job: Job, _console: Console, text: str) -> str:
    """Write to the link as if code in a file had taken over; its descriptor is the first argument of the process."""
    os.write(int(sys.argv[1]), bytes.fromhex(text))
    time.sleep(1000)
    return ""
