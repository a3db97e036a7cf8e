"""Evaluates chat templates in processes that can be killed (`template_process.py`).

A template that does not end costs its own request the time limit and one process; others have the second one. Blocking,
for threads; `TemplateRenderer.render_soon` runs it in its own threads. Knows neither protocols nor models.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from asyncio import Future, get_running_loop
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Any, Final

from slipway.errors import SlipwayError, internal, invalid, unavailable, unsupported
from slipway.installation import install_hint

_PROGRAM: Final = Path(__file__).with_name("template_process.py")
_PROCESSES: Final = 2
_STARTING_S: Final = 30.0  # to import jinja2 on a machine that is busy
_SPARE_S: Final = 1.0  # the process ends itself this much later than the server gives it up
# What the interpreter needs to find its packages. Secrets of the server's environment are not passed on.
_VARIABLES: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
_JINJA: Final = (3, 1, 6)  # templates can break out of the sandbox of earlier versions (CVE-2025-27516)


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """What a template may take."""

    seconds: float = 5.0
    characters: int = 4 << 20  # of the text


class TemplateRenderer:
    """Up to two processes, started when they are needed; `close` ends them. May be used from any thread."""

    def __init__(self, limits: RenderLimits | None = None) -> None:
        self._limits = limits or RenderLimits()
        self._lock = Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._threads: ThreadPoolExecutor | None = None

    def render_soon(self, template: str, variables: Mapping[str, Any]) -> Future[str]:
        """Return a future of the running event loop for the text that `render` returns."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_PROCESSES, thread_name_prefix="chat-template")
            threads = self._threads
        return get_running_loop().run_in_executor(threads, self.render, template, variables)

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """Return the text of a template with `variables` (JSON values).

        Raise INVALID_ARG for a conversation that the template refuses or cannot handle, or that becomes too long;
        UNSUPPORTED for a template that is not valid or breaks out, INTERNAL for one that takes more time or memory
        than the limits allow; UNAVAILABLE if jinja2 is missing.
        """
        line = _request(template, variables, self._limits)
        process = self._take()
        try:
            reply = process.ask(line, self._limits)
        except (OSError, ValueError) as error:  # it has ended, or does not answer in time
            raise _failure(self._end(process), self._limits) from error
        except BaseException:
            self._end(process)
            raise
        self._give_back(process)
        if "text" in reply:
            return str(reply["text"])
        raise _error(reply["problem"], reply["message"], self._limits)

    def close(self) -> None:
        """End the processes, also those at work, and threads; both start again when they are needed."""
        with self._lock:
            idle, self._idle = self._idle, []
            busy, self._busy = self._busy, set()
            threads, self._threads = self._threads, None
        for process in busy:
            process.kill()  # its thread learns that it has ended, and releases it
        for process in idle:
            process.end()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> _Process:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None:
            _check_library()
            process = _Process()
        with self._lock:
            self._busy.add(process)
        return process

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            is_kept = process in self._busy  # or closed meanwhile
            self._busy.discard(process)
            if is_kept:
                self._idle.append(process)
        if not is_kept:
            process.end()

    def _end(self, process: _Process) -> int:
        with self._lock:
            self._busy.discard(process)
        return process.end()


class _Users:
    """The renderer of all servers in this process, and how many of them run."""

    def __init__(self) -> None:
        self.renderer = TemplateRenderer()
        self._count = 0
        self._lock = Lock()
        atexit.register(self.renderer.close)

    def begin(self) -> None:
        """Count one more server."""
        with self._lock:
            self._count += 1

    def end(self) -> None:
        """Count one server less; with the last one, the processes end."""
        with self._lock:
            self._count = max(0, self._count - 1)
            if not self._count:
                self.renderer.close()


_USERS: Final = _Users()


def shared_renderer() -> TemplateRenderer:
    """Return the renderer of the servers in this process."""
    return _USERS.renderer


def begin_rendering() -> None:
    """Count one more server that may use the shared renderer."""
    _USERS.begin()


def end_rendering() -> None:
    """End what `begin_rendering` began: with the last server, the processes of the shared renderer end."""
    _USERS.end()


class _Process:
    """One child with the channel to it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        with theirs:
            self._child: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
            )
        self._waits = _STARTING_S  # with its first answer it has started

    def ask(self, line: bytes, limits: RenderLimits) -> dict[str, str]:
        """Return the reply; raise OSError if there is none in time, ValueError if it is cut off."""
        deadline = time.monotonic() + limits.seconds + self._waits
        self._channel.settimeout(limits.seconds + self._waits)
        self._channel.sendall(line)
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"\n"):
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            pieces.append(self._channel.recv(1 << 20))
            if not pieces[-1]:
                raise ValueError("the process has ended")
        self._waits = 0.0
        reply: dict[str, str] = json.loads(b"".join(pieces))
        return reply

    def kill(self) -> None:
        """End the child at once, from any thread."""
        self._child.kill()

    def end(self) -> int:
        """End the child at once; return its exit status."""
        self._channel.close()
        self._child.kill()
        return self._child.wait()


def _request(template: str, variables: Mapping[str, Any], limits: RenderLimits) -> bytes:
    """Return the line that asks for a text; raise INVALID_ARG for variables that are nested too deeply."""
    request = {"template": template, "variables": variables, "most": limits.characters}
    try:
        text = json.dumps(request | {"seconds": limits.seconds + _SPARE_S}, ensure_ascii=False)  # escapes take longer
    except RecursionError:
        raise invalid("the conversation is nested too deeply") from None
    return text.encode(errors="surrogatepass") + b"\n"


def _failure(status: int, limits: RenderLimits) -> SlipwayError:
    """Return why a child did not answer."""
    if status in (-signal.SIGKILL, -signal.SIGALRM):
        return internal(f"the model's chat template did not finish within {limits.seconds:g} s")
    return internal("the model's chat template could not be evaluated: its process has ended")


def _check_library() -> None:
    """Raise UNAVAILABLE unless jinja2 is installed in a version whose sandbox holds."""
    try:
        found = version("jinja2")
    except PackageNotFoundError:
        raise unavailable(f"chat templates need jinja2: {install_hint('generate')}") from None
    if tuple(int(part) for part in re.findall(r"\d+", found)[:3]) < _JINJA:
        needed = ".".join(map(str, _JINJA))
        raise unavailable(f"chat templates need jinja2 {needed} or newer, found {found}: {install_hint('generate')}")


def _error(problem: str, message: str, limits: RenderLimits) -> SlipwayError:
    match problem:
        case "refused":
            return invalid(f"the model's chat template refuses this conversation: {message}")
        case "failed":
            return invalid(f"the model's chat template cannot handle this conversation: {message}")
        case "too long":
            return invalid(f"the conversation is too long: its text has more than {limits.characters} characters")
        case "no memory":
            return internal("the model's chat template needs more memory than it may use")
        case _:
            return unsupported(f"the model's chat template is not valid: {message}")
