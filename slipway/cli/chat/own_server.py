"""The server that `slipway chat SOURCE` starts for itself, in a child process.

`python -m slipway.cli.chat.own_server PARENT SOURCE` is `slipway serve SOURCE` on a port that the system chooses, for
this machine alone; it ends with its parent.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Final

from slipway.errors import unavailable

_ROOT: Final = str(Path(__file__).parents[3])
_HOST: Final = "127.0.0.1"
_FLAGS: Final = (
    f"--http-address={_HOST}",
    "--http-port=0",
    "--allow-grpc=false",
    "--allow-metrics=false",
    "--exit-timeout-secs=2",
)
_STARTED: Final = re.compile(r"Started HTTPService at \S+:(\d+)")
_LOGGED: Final = re.compile(r"([IWE])\d{4} \S+ \d+ (\S+):\d+\] (.*)")  # `log_format.py`
_TABLE: Final = ("+", "|")
_ERROR: Final = "error: "
_CONVERTING: Final = "converting.py"
_END_S: Final = 20.0
_KEPT: Final = 40  # lines of the log


@contextmanager
def own_server(source: str) -> Iterator[str]:
    """Serve a source in the block; yield HOST:PORT. What the server prints until it answers, conversions included, goes
    to standard error. Raise UNAVAILABLE if it ends before that."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), _ROOT]))
    command = [sys.executable, "-P", "-m", "slipway.cli.chat.own_server", str(os.getpid()), source]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for an answer, not for the server
    )
    try:
        assert child.stdout is not None  # noqa: S101  a pipe was asked for
        yield f"{_HOST}:{_started(child.stdout, source)}"
    finally:
        _end(child)


def _started(output: IO[str], source: str) -> str:
    """Return the port once the server listens, and go on reading, so that it never waits for a full pipe."""
    last: deque[str] = deque(maxlen=_KEPT)
    for line in output:
        if found := _STARTED.search(line):
            Thread(target=_read_on, args=(output,), daemon=True).start()
            return found[1]
        last.append(line)
        if text := shown_line(line):
            print(text, file=sys.stderr, flush=True)
    problem = next((line.strip() for line in reversed(last) if line.startswith(_ERROR)), "")
    raise unavailable(f"'{source}' cannot be served" + (f": {problem.removeprefix(_ERROR)}" if problem else ""))


def shown_line(line: str) -> str:
    """Return what is shown of a line of a server that starts: the steps of a conversion, warnings, and what is not a
    line of its log or of the table of models; "" for all others, and for the error with which it ends."""
    found = _LOGGED.fullmatch(line.strip())
    if found is None:
        return "" if line.startswith((*_TABLE, _ERROR)) else line.rstrip()
    severity, source, message = found.groups()
    if severity == "I" and source != _CONVERTING:
        return ""
    try:
        return str(json.loads(message))
    except ValueError:
        return message


def _read_on(output: IO[str]) -> None:
    for _ in output:
        pass


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def main() -> int:
    """Serve until the parent ends, and return the exit code."""
    from slipway.cli.confined.limits import bind_to_parent
    from slipway.cli.main import main as run_command

    bind_to_parent(int(sys.argv[1]), signal.SIGTERM)
    return run_command(["serve", sys.argv[2], *_FLAGS])


if __name__ == "__main__":
    sys.exit(main())
