"""The child process that opens foreign files for a command.

Started as `python -m slipway.cli.confined.child DESCRIPTOR PARENT`. It sets its limits before it imports anything that
reads files, does one job, and reports over the socket; the command ends it.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec

from slipway.cli.confined.console import Console
from slipway.cli.confined.limits import bind_to_parent, confine_memory, describe_limits, is_memory_used_up
from slipway.cli.confined.messages import (
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
from slipway.cli.confined.network import cut_network
from slipway.cli.interruption import raise_on_sigterm
from slipway.convert.steps import ConversionStep
from slipway.errors import Code, SlipwayError

Work = Callable[[Job, Console], str]
_NO_MEMORY: Final = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "out of memory", "memoryerror")


class RemoteConsole:
    """The command at the other end of the link. Implements `Console`."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def step(self, step: ConversionStep) -> None:
        """Show a step."""
        send(self._link, ShowStep.of(step))

    def say(self, text: str) -> None:
        """Print a text on standard output, after what was printed here."""
        sys.stdout.flush()
        send(self._link, SayText(text))

    def warn(self, text: str) -> None:
        """Print a text on standard error."""
        send(self._link, SayText(text, warning=True))

    @contextmanager
    def stage(self, names: Sequence[str]) -> Iterator[Path]:
        """Yield a directory of the command's."""
        yield Path(self._ask(StageRequest(tuple(names))))

    def place(self, files: Mapping[Path, Path]) -> None:
        """Have the command put files in place."""
        self._ask(PlaceRequest({str(target): str(source) for target, source in files.items()}))

    def _ask(self, message: Message) -> str:
        """Return the answer; if the command refuses, it ends this process instead."""
        send(self._link, message)
        answer = receive(self._link)
        if not isinstance(answer, StageReply):
            raise KeyboardInterrupt  # the command is gone
        return answer.directory


def main() -> None:
    """Do the one job that comes over the socket whose descriptor is the first argument; the second is the id of the
    command's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this process
    raise_on_sigterm()
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    job = receive(link)
    if not isinstance(job, Job):
        return
    faulthandler.enable()
    work: Work = import_module(job.module).work  # ours, and not confined: without it no error can be reported
    confined = _confine(job)
    bind_to_parent(int(sys.argv[2]), signal.SIGKILL)
    try:
        message = _outcome(work, confined, RemoteConsole(link))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        send(link, message)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        os._exit(1)
    os._exit(0)  # without the clean-up of libraries, which may crash or take long


def _confine(job: Job) -> Job:
    """Set the limits of the job, and return it with what they are."""
    exposed = "" if job.network else cut_network()
    confine_memory(job.memory)
    network = "a network" if job.network else f"the network not cut off: {exposed}" if exposed else "no network"
    isolation = describe_limits(job.memory, job.seconds, network)
    return msgspec.structs.replace(job, isolation=isolation, exposed=exposed)


def warn_of_network(job: Job, console: Console) -> None:
    """SayText that the network could not be cut off, for a job without a report that says it."""
    if job.exposed:
        console.warn(f"warning: the process that opens the files could reach the network: {job.exposed}")


def _outcome(work: Work, job: Job, console: Console) -> JobDone | JobFailed:
    try:
        return JobDone(work(job, console))
    except SlipwayError as error:
        fixes = tuple((problem.rule.value, problem.fix) for problem in error.problems)
        return JobFailed(error.code.name, error.message, fixes, memory=_lacks_memory(error))
    except OSError as error:
        return JobFailed(Code.INVALID_ARG.name, str(error), memory=_lacks_memory(error))
    except Exception as error:  # noqa: BLE001  libraries raise anything for a foreign file; the command says which
        text = f"{type(error).__name__}: {error}"
        return JobFailed(Code.INTERNAL.name, text, trace=traceback.format_exc(), memory=_lacks_memory(error))


def _lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, says that the system gave no more memory, or whatever it says,
    the memory is used up: without any, Python and libraries raise other errors too."""
    if is_memory_used_up():
        return True
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
