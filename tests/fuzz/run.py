"""Runs targets for a time and saves what they find as new seeds, so that the tests keep it from coming back.

`python -m tests.fuzz` runs each target in a process of its own, with a limit of memory and of time for one input: a
crash, a hang and a lack of memory are findings as well. atheris chooses inputs by the code that they reach, where it is
installed; otherwise the built-in mutations are used.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final

from tests.fuzz.config_targets import quiet
from tests.fuzz.mutation import mutate
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, can_run

_MEMORY: Final = 4 << 30  # bytes of data of one process
_INPUT_SECONDS: Final = 20.0  # of processor time for one input
_POOL: Final = 64  # inputs that are mutated further, beside the seeds


class HangError(BaseException):
    """One input takes too long. Not an Exception: around native libraries, readers catch these to refuse the input."""


@contextmanager
def cpu_limit(seconds: float = _INPUT_SECONDS) -> Iterator[None]:
    """Raise HangError in the block when it has used so much processor time."""
    before = signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _hang(_signum: int, _frame: FrameType | None) -> None:
    raise HangError


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """Yield mutated seeds without end; those that are mutated again are chosen at random."""
    random = Random(seed)
    seeds = target.seeds()
    pool = list(seeds)
    while True:
        data = mutate(random.choice(pool), random, seeds, target.words)
        yield data
        if len(data) <= 4096 and random.random() < 0.02:
            pool[len(seeds) :] = [*pool[len(seeds) :], data][-_POOL:]


def run_target(target: Target, seconds: float, seed: int) -> int:
    """Run one target in this process until the time is over or it finds something; print what; return the exit code."""
    quiet()
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    current = target.directory / f".running-{os.getpid()}"
    ends = time.monotonic() + seconds
    count = 0
    try:
        for data in inputs(target, seed):
            if time.monotonic() > ends:
                break
            if target.needs:  # native code may end this process: the input has to survive it
                current.write_bytes(data)
            with cpu_limit():
                target(data)
            count += 1
    except BaseException as error:  # noqa: BLE001  whatever a reader raises is the finding
        path = save(target, data)
        trace = "".join(traceback.format_exception(error)[-12:])
        sys.stdout.write(f"{target.name}: input {count} raises: saved as {path}\n{trace}\n")
        current.unlink(missing_ok=True)
        return 1
    current.unlink(missing_ok=True)
    sys.stdout.write(f"{target.name}: {count} inputs, nothing found\n")
    return 0


def save(target: Target, data: bytes) -> Path:
    """Save an input as a seed named by its content."""
    path = target.directory / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def run_with_atheris(target: Target, seconds: float, seed: int) -> int:
    """Run one target with atheris, whose corpus is in a temporary directory; our modules are already instrumented."""
    import tempfile

    import atheris

    quiet()

    with tempfile.TemporaryDirectory(prefix="slipway-fuzz-") as corpus:
        flags = [f"-max_total_time={int(seconds)}", f"-seed={seed}", "-rss_limit_mb=4096", "-timeout=20"]
        prefix = f"-artifact_prefix={target.directory}/found-"
        atheris.Setup([sys.argv[0], corpus, str(target.directory), *flags, prefix], target)
        atheris.Fuzz()  # ends the process
    return 0


def run_all(names: list[str], seconds: float, seed: int, *, builtin: bool) -> int:
    """Run each target in a process of its own, one after the other; return 1 if one found something."""
    found = []
    for name in names or list(TARGETS):
        if not can_run(TARGETS[name]):
            sys.stdout.write(f"{name}: not run, needs {', '.join(TARGETS[name].needs)}\n")
            continue
        words = ["--child", "--target", name, "--seconds", str(seconds), "--seed", str(seed)]
        words += ["--builtin"] if builtin or find_spec("atheris") is None else []
        code = subprocess.run([sys.executable, "-m", "tests.fuzz", *words], check=False).returncode
        found += [name] if code else []
        for left in TARGETS[name].directory.glob(".running-*"):
            path = save(TARGETS[name], left.read_bytes())
            left.unlink()
            sys.stdout.write(f"{name}: ended the process with {code}: saved as {path}\n")
        sys.stdout.flush()
    sys.stdout.write(f"found something: {', '.join(found)}\n" if found else "nothing found\n")
    return 1 if found else 0
