"""Runs the work of a command in the child, passes on what it reports, and turns its death into one error.

Knows no command and opens no foreign file. The command's own functions stage and place files, so whatever happens to
the child, nothing half-written is left.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final, Self

import msgspec

from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.held_output import HeldOutput
from slipway.cli.confined.limits import Limits, shown_memory
from slipway.cli.confined.messages import (
    ConfinedLinkError,
    Job,
    JobDone,
    JobFailed,
    Message,
    PlaceRequest,
    SayText,
    ShowStep,
    StageReply,
    StageRequest,
    receive,
    send,
)
from slipway.cli.output import output_width, visible
from slipway.convert.steps import ConversionStep
from slipway.errors import Code, SlipwayError

_ROOT: Final = str(Path(__file__).parents[3])  # must be on sys.path for `import slipway`
_GRACE_S: Final = 3.0  # to clean up after SIGTERM
_FRAME: Final = re.compile(r'most recent call first\):\s+File "([^"\n]+)", line (\d+) in (\S+)')
_NO_MEMORY: Final = ("bad_alloc", "cannot allocate memory", "memoryerror")


class ChildDiedError(SlipwayError):
    """The child ended, or was ended, before its work was done; `candidate` is the label of the candidate that it was
    working on, or "", and `how` says how it ended."""

    def __init__(self, message: str, how: str, candidate: str) -> None:
        super().__init__(Code.UNAVAILABLE, message)
        self.how = how
        self.candidate = candidate


def run_job(job: Job, limits: Limits, console: LocalConsole, *, subject: str, quiet: bool = False) -> str:
    """Do a job, in a child unless `limits.in_process`, and return the text that the command prints.

    `subject` names the foreign file in errors. With `quiet`, what the child prints is held back and only shown with an
    unexpected error. Raise the error of the job, or ChildDiedError.
    """
    if limits.in_process:
        text: str = import_module(job.module).work(msgspec.structs.replace(job, isolation="none"), console)
        return text
    with ExitStack() as stack:
        held = stack.enter_context(HeldOutput()) if quiet else None
        child = stack.enter_context(_Child(limits, console, subject, held))
        text = child.run(job, stack)
        child.end(grace=0)
    return text


class _Child:
    """One child process and what is known about it."""

    def __init__(self, limits: Limits, console: LocalConsole, subject: str, held: HeldOutput | None) -> None:
        self._limits = limits
        self._console = console
        self._subject = subject
        self._held = held
        self._step = ConversionStep(1, 0, "starting")
        self._files: tempfile.TemporaryDirectory[str]
        self._process: subprocess.Popen[bytes]
        self._link: socket.socket

    def __enter__(self) -> Self:
        """Start the process; its temporary files have a directory of their own, which goes with it."""
        self._files = tempfile.TemporaryDirectory(prefix="slipway-", ignore_cleanup_errors=True)
        output = None if self._held is None else self._held.fileno()
        self._link, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "slipway.cli.confined.child", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                env=_environment(self._files.name),
                process_group=0,  # Ctrl-C is for this process, which ends the child
            )
        if self._held is not None:
            self._held.given()
        self._link.settimeout(self._limits.seconds)
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, whatever it does."""
        self.end(grace=_GRACE_S)
        self._link.close()
        self._files.cleanup()

    def end(self, *, grace: float) -> None:
        """End the process and those that it started, after some seconds in which it may clean up."""
        if self._process.returncode is not None:
            return
        if grace:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def run(self, job: Job, stack: ExitStack) -> str:
        """Pass on everything until the job is done; what the child asks to stage is placed when `stack` is closed."""
        limits = self._limits
        limited = msgspec.structs.replace(job, memory=limits.memory, seconds=limits.seconds, network=limits.network)
        send(self._link, limited)
        while True:
            message = self._next()
            if isinstance(message, JobDone):
                return visible(message.text)
            if isinstance(message, StageRequest):
                directory = stack.enter_context(self._console.stage(message.names))
                send(self._link, StageReply(str(directory)))
            else:
                self._pass_on(message)

    def _next(self) -> Message:
        try:
            message = receive(self._link)
        except TimeoutError:
            raise self._died(f"made no progress for {self._limits.seconds:g} s", "--timeout-secs") from None
        except ConfinedLinkError as error:
            raise self._died(f"sent {error}", "") from error
        if message is None:
            raise self._ended()
        return message

    def _pass_on(self, message: Message) -> None:
        match message:
            case ShowStep():
                step = message.step()
                self._step = replace(step, text=visible(step.text))
                self._console.step(self._step)
            case SayText(text, warning):
                (self._console.warn if warning else self._console.say)(visible(text))
            case PlaceRequest(files):
                self._console.place({Path(target): Path(source) for target, source in files.items()})
                send(self._link, StageReply())
            case JobFailed():
                raise self._failed(message)
            case _:
                raise self._died(f"sent a message out of order ({type(message).__name__})", "")

    def _failed(self, message: JobFailed) -> SlipwayError:
        if message.memory:
            return self._out_of_memory()
        if not message.trace:
            return self._refused(message)
        self._show_held()
        sys.stderr.write(visible(message.trace))
        return SlipwayError(Code.INTERNAL, f"{self._place()} failed unexpectedly with {visible(message.text)}")

    def _refused(self, message: JobFailed) -> SlipwayError:
        fixes = tuple((rule, visible(fix)) for rule, fix in message.fixes)
        try:
            return msgspec.structs.replace(message, text=visible(message.text), fixes=fixes).error()
        except ConfinedLinkError as error:
            return self._died(f"sent {error}", "")

    def _ended(self) -> ChildDiedError:
        """Return the error for a process that closed the link without a result."""
        self.end(grace=_GRACE_S)
        tail = self._tail()
        code = self._process.returncode
        if any(sign in tail.lower() for sign in _NO_MEMORY):
            return self._out_of_memory()
        if code == -signal.SIGKILL:
            return self._died("was killed with SIGKILL, as the system does when memory runs out", "--max-memory")
        ended = f"crashed with {_name(-code)}" if code < 0 else f"ended with exit code {code}"
        frame = next(_FRAME.finditer(tail), None)
        where = f" in {frame[3]}, {frame[1]}:{frame[2]}" if frame else ""
        return self._died(ended, "", where)

    def _out_of_memory(self) -> ChildDiedError:
        memory = self._limits.memory
        limit = f"with a limit of {shown_memory(memory)}" if memory is not None else "without a limit"
        return self._died(f"ran out of memory, {limit}", "" if memory is None else "--max-memory")

    def _died(self, how: str, flag: str, where: str = "") -> ChildDiedError:
        more = f"; {flag} sets the limit" if flag else ""
        return ChildDiedError(f"{self._place()} {how}{where}{more}", f"it {how}{more}", self._step.candidate)

    def _place(self) -> str:
        return f"'{self._subject}': {self._step.text}" if self._step.text else f"'{self._subject}': the work"

    def _tail(self) -> str:
        return "" if self._held is None else visible(self._held.tail().decode(errors="replace"))

    def _show_held(self) -> None:
        sys.stderr.write(self._tail())


def _environment(temporary: str) -> Mapping[str, str]:
    """Return the environment of the child: libraries write their temporary files to `temporary` and look nothing up."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), _ROOT]))
    return environment | {"TMPDIR": temporary, "HF_HUB_OFFLINE": "1", "COLUMNS": str(output_width())}


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
