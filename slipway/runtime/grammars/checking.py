"""Whether a grammar can be followed: asks `check_program.py`, which may run out of time or memory without harm.

Answers are kept, so that a grammar that many requests have in common is checked once. Blocking, for threads;
`check_soon` runs it in threads of its own. Knows neither tokens nor models.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from asyncio import Future, get_running_loop
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, Final

from slipway.errors import internal, invalid, unsupported
from slipway.installation import install_hint
from slipway.runtime.grammars.source import GrammarSource

# How the library reads a JSON schema: what it does not support is an error, and white space has an end.
SCHEMA_OPTIONS: Final[Mapping[str, Any]] = {
    "whitespace_pattern": r"[ \n\r\t]{0,20}",
    "lenient": False,
    "coerce_one_of": False,
}
# What one step of a text may take: some 10 ms of computing, and 40 MiB for the states of its lexer.
LIMITS: Final[Mapping[str, int]] = {
    "initial_lexer_fuel": 200_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 200_000,
}
_PROGRAM: Final = Path(__file__).with_name("check_program.py")
SECONDS: Final = 1.0  # of computing; a schema of 3000 properties takes 0.1 s
_WAITED_S: Final = 30.0  # on a machine that is busy
MEMORY: Final = 256 << 20
_AT_ONCE: Final = 2  # processes
_KEPT: Final = 64  # answers
# What the interpreter needs to find its packages. Secrets of the server's environment are not passed on.
_VARIABLES: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


class GrammarChecks:
    """The last answers, and the processes that find new ones. May be used from any thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[GrammarSource, dict[str, Any]] = OrderedDict()
        self._lock = Lock()
        self._running = BoundedSemaphore(_AT_ONCE)
        self._threads: ThreadPoolExecutor | None = None

    def known(self, source: GrammarSource) -> bool:
        """Return whether `part` has the answer already, and returns at once."""
        with self._lock:
            return source in self._known

    def part(self, source: GrammarSource) -> Mapping[str, Any]:
        """Return a grammar as a part of llguidance's own form.

        Raise INVALID_ARG for one that is malformed, impossible, not supported or too large; UNSUPPORTED if llguidance
        is missing.
        """
        with self._lock:
            reply = self._known.get(source)
            if reply is not None:
                self._known.move_to_end(source)
        if reply is None:
            with self._running:
                reply = _ask(source)
            with self._lock:
                self._known[source] = reply
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        if "problem" in reply:
            raise invalid(f"the {source.kind.value} cannot be followed: {reply['problem']}")
        part: Mapping[str, Any] = reply["part"]
        return part

    def check_soon(self, source: GrammarSource) -> Future[Mapping[str, Any]]:
        """Return a future of the running event loop for what `part` returns."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="grammar-check")
            threads = self._threads
        return get_running_loop().run_in_executor(threads, self.part, source)


CHECKS: Final = GrammarChecks()


def require_library() -> None:
    """Raise UNSUPPORTED unless llguidance is installed."""
    if find_spec("llguidance") is None:
        raise unsupported(f"text of a given form needs llguidance: {install_hint('structured')}")


def _ask(source: GrammarSource) -> dict[str, Any]:
    """Return the answer of a new process."""
    require_library()
    request: dict[str, Any] = {"kind": source.kind.value, "text": source.text, "seconds": SECONDS, "memory": MEMORY}
    request |= {"options": dict(SCHEMA_OPTIONS), "limits": dict(LIMITS)}
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", str(_PROGRAM)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_WAITED_S,
            cwd="/",
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise internal(f"the {source.kind.value} could not be checked: {type(error).__name__}") from error
    if ended.returncode == -signal.SIGPROF:
        return {"problem": f"it takes more than {SECONDS:g} s to compile"}
    if ended.returncode < 0:
        return {"problem": "it is nested too deeply, or takes too much memory to compile"}
    if ended.returncode or not ended.stdout:
        raise internal(f"the {source.kind.value} could not be checked: the process ended with {ended.returncode}")
    reply: dict[str, Any] = json.loads(ended.stdout)
    return reply
