"""The child that opens foreign files: whatever happens to it is one error, and nothing is left of it."""

from __future__ import annotations

import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.held_output import HeldOutput
from slipway.cli.confined.limits import Limits, add_limit_flags
from slipway.cli.confined.messages import ConfinedLinkError, Job, JobFailed, SayText, receive, send
from slipway.cli.confined.process import ChildDiedError, run_job
from slipway.cli.confined.socket_filter import PROCESSORS
from slipway.convert.steps import ConversionStep
from slipway.errors import Code, SlipwayError
from tests.kits.signals import interruptible

SECONDS = 60
LIMITS = Limits(memory=512 << 20, seconds=SECONDS)
QUIET = LocalConsole(lambda _: None, lambda _: None)


def do(*words: str, limits: Limits = LIMITS, console: LocalConsole = QUIET, quiet: bool = True) -> str:
    return run_job(Job("tests.cli.confined_jobs", words), limits, console, subject="a.onnx", quiet=quiet)


def died(*words: str, limits: Limits = LIMITS) -> ChildDiedError:
    with pytest.raises(ChildDiedError) as caught:
        do(*words, limits=limits)
    return caught.value


@pytest.mark.parametrize("in_process", [False, True])
def test_steps_texts_and_the_result_arrive_in_order(in_process):
    seen: list[object] = []
    console = LocalConsole(seen.append, seen.append, seen.append)
    assert do("talk", console=console, limits=Limits(None, None, in_process=in_process)) == "done"
    assert seen == [ConversionStep(2, 3, "talking", 4.5, "torch fp32"), "said", "warned"]


@pytest.mark.parametrize("then", ["done", "refuse", "raise", "crash"])
def test_nothing_that_a_file_contains_commands_the_terminal(then, capfd):
    seen: list[str] = []
    console = LocalConsole(seen.append, seen.append, lambda step: seen.append(step.text))
    try:
        seen.append(do("escape", then, console=console))
    except SlipwayError as error:
        seen += [error.message, *(problem.fix for problem in error.problems)]
    seen += capfd.readouterr()
    assert seen[0] == "a\\x1b]0;title\\x07\\x9b2J\tb\\x0d\n"
    assert not any(character in text for text in seen for character in "\x1b\x07\x9b\r")


def test_an_error_of_no_known_kind_ends_the_child():
    message = msgspec.msgpack.encode(JobFailed("NO_SUCH_CODE", "text"))
    assert "sent the error has no known code or rule" in str(
        died("garble", (len(message).to_bytes(4, "little") + message).hex())
    )


def test_the_limits_are_described_for_the_report():
    text = do("isolation", limits=Limits(1 << 30, 60.0, network=True))
    assert text == "a child process with at most 1.0 GiB of memory, 60 s from step to step, a network"
    assert "no limit of memory, no limit of time" in do("isolation", limits=Limits(None, None))
    assert do("isolation", limits=Limits(None, None, in_process=True)) == "none"


def test_too_much_memory_names_the_file_the_step_the_limit_and_the_flag():
    error = died("allocate", str(2 << 30))
    assert str(error) == ("'a.onnx': reading ran out of memory, with a limit of 512 MiB; --max-memory sets the limit")
    assert do("allocate", str(1 << 20)) == str(1 << 20)


def test_a_crash_names_the_signal_the_candidate_and_the_place():
    error = died("segfault", "onnxruntime fp16")
    assert "'a.onnx': building crashed with SIGSEGV in string_at, " in str(error)
    assert (error.candidate, error.how, error.code) == (
        "onnxruntime fp16", "it crashed with SIGSEGV", Code.UNAVAILABLE,
    )  # fmt: skip


@pytest.mark.parametrize("code", [0, 3])
def test_an_end_without_a_result_is_an_error_whatever_the_exit_code(code):
    assert f"ended with exit code {code}" in str(died("exit", str(code)))


def test_a_hanging_child_and_its_children_are_ended_after_the_time_limit(tmp_path):
    error = died("hang", str(tmp_path / "pids"), limits=Limits(None, 2.0))
    assert str(error) == "'a.onnx': reading made no progress for 2 s; --timeout-secs sets the limit"
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        await_end(pid)


def await_end(pid: int) -> None:
    """Wait until a process that was killed is gone."""
    deadline = time.monotonic() + SECONDS
    while not has_ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or dead and waiting for a parent to ask."""
    try:
        return re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE) is not None
    except FileNotFoundError:
        return True


COMMAND = """
import sys
from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.confined.process import run_job
from slipway.cli.interruption import raise_on_sigterm
raise_on_sigterm()
job = Job("tests.cli.confined_jobs", ("hang", sys.argv[1]))
run_job(job, Limits(None, None), LocalConsole(print, print), subject="a", quiet=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_child_ends_with_the_command(tmp_path, number):
    with interruptible():
        process = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path / "pids")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + SECONDS
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child, grandchild = map(int, (tmp_path / "pids").read_text().split())
    process.send_signal(number)
    process.wait(SECONDS)
    await_end(child)
    if number == signal.SIGKILL:  # nobody is left who could end the processes that the child started
        os.kill(grandchild, signal.SIGKILL)
    await_end(grandchild)


def test_the_network_is_cut_off_where_the_system_allows_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        seen = do("connect", port)
        assert seen == "cut" or seen.startswith("the system refuses"), seen
        assert do("connect", port, limits=Limits(None, SECONDS, network=True)) == "connected"


FILTERED = """
import socket, subprocess, sys
from slipway.cli.confined.socket_filter import refuse_sockets
refuse_sockets()
for family in (socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family).close()
    except PermissionError:
        print("refused")
socket.socket(socket.AF_UNIX).close()
socket.socketpair()
child = "import socket; socket.socket()"
print(subprocess.run([sys.executable, "-c", child], stderr=subprocess.DEVNULL).returncode)
"""


@pytest.mark.skipif(platform.machine() not in PROCESSORS, reason="the filter knows other processors")
def test_where_there_are_no_namespaces_a_filter_refuses_all_but_local_sockets():
    result = subprocess.run([sys.executable, "-c", FILTERED], capture_output=True, text=True, check=False)
    if "Function not implemented" in result.stderr:
        pytest.skip(f"the system does not allow filters: {result.stderr.splitlines()[-1]}")
    assert (result.stdout.split(), result.stderr) == (["refused", "refused", "1"], "")


def test_an_unexpected_error_shows_what_was_held_back_and_ends_in_one_line(capfd):
    with pytest.raises(SlipwayError, match=r"^'a.onnx': starting failed unexpectedly with RecursionError: too deep$"):
        do("surprise")
    shown = capfd.readouterr().err
    assert shown.startswith("a library prints\nTraceback ")


def test_an_error_of_ours_keeps_its_code_and_its_fixes():
    with pytest.raises(SlipwayError, match=r"^there is no file$") as caught:
        do("refuse")
    assert caught.value.code is Code.UNSUPPORTED
    assert [problem.fix for problem in caught.value.problems] == ["put one there"]


@pytest.mark.parametrize("then", ["finish", "die"])
def test_what_was_staged_is_placed_at_the_end_or_removed(tmp_path, then):
    placed = []

    @contextmanager
    def stage(names):
        with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
            yield Path(directory)
            placed.append((tuple(names), (Path(directory) / "a").read_text()))

    console = LocalConsole(print, print, stage=stage)
    if then == "die":
        with pytest.raises(ChildDiedError):
            do("write", then, console=console)
    else:
        do("write", then, console=console)
    assert placed == ([(("a", "b"), "new")] if then == "finish" else [])
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_libraries_are_removed():
    path = Path(do("litter"))
    assert "slipway-" in str(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("ffffffff", "a message of 4294967295 bytes"),
        ("01000000c1", "not a message"),
        ("0c00000082a474797065a3466f6fa161", "not a message"),
    ],
)
def test_noise_on_the_link_ends_the_child(data, text):
    assert text in str(died("garble", data))


def test_a_message_that_the_child_may_not_send_ends_it():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, SayText("x" * 100_000))
        assert receive(ours) == SayText("x" * 100_000)
        theirs.sendall(b"\x10\0\0\0short")
        theirs.close()
        assert receive(ours) is None
    with pytest.raises(ConfinedLinkError, match="not a message"):
        noise()


def noise() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\x05\0\0\0\x85\xa4type")
        receive(ours)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-memory", "8G"], (8 << 30, 7200.0)),
        (["--max-memory", "512MiB"], (512 << 20, 7200.0)),
        (["--max-memory", "1.5g", "--timeout-secs", "90"], (3 << 29, 90.0)),
        (["--max-memory", "none", "--timeout-secs", "none"], (None, None)),
    ],
)
def test_sizes_and_times_are_read_as_people_write_them(words, expected):
    parser = ArgumentParser()
    add_limit_flags(parser)
    limits = Limits.of(parser.parse_args(words))
    assert (limits.memory, limits.seconds) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["--max-memory", "much"], ["--max-memory", "8"], ["--max-memory", "9" * 400], ["--max-memory", "1e9"],
        ["--max-memory=-1G"], ["--timeout-secs", "0"], ["--timeout-secs", "soon"], ["--timeout-secs", "9" * 400],
    ],
)  # fmt: skip
def test_other_sizes_and_times_are_refused_with_an_example(words, capsys):
    parser = ArgumentParser()
    add_limit_flags(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert "or none" in capsys.readouterr().err


def test_only_the_end_of_what_a_child_prints_is_kept():
    program = "import sys; [print('x' * 1000) for _ in range(5000)]; print('the end', file=sys.stderr)"
    with HeldOutput() as held:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=held.fileno(), stderr=held.fileno())
        held.given()
        assert child.wait(60) == 0
        kept = held.tail()
    assert len(kept) == 1 << 20
    assert b"the end" in kept[-2000:]
