"""The limits of the child that opens foreign files: the flags, their defaults, and how they are set in the child."""

from __future__ import annotations

import argparse
import os
import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from slipway.cli.confined.system import DEATH_SIGNAL, NO_NEW_PRIVILEGES, process_control
from slipway.machine import read_memory

_Value = TypeVar("_Value")

UNLIMITED: Final = "none"
SECONDS: Final = 7200
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LEAST_MEMORY: Final = 256 << 20  # Python and this package need most of it
_USED_UP: Final = 0.95  # of the limit; what an error needs has been freed by then
_MOST_MEMORY: Final = 1 << 50
_MOST_SECONDS: Final = 1 << 30
_FIRST_TO_END: Final = "1000"  # of the processes that the kernel ends when memory runs out
_STATUS: Final = Path("/proc/self/status")
_ADJUSTMENT: Final = Path("/proc/self/oom_score_adj")
FLAGS: Final = ("max_memory", "timeout_secs", "in_process", "allow_network")  # as attributes of the parsed options


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use: `memory` in bytes of its own data, `seconds` from one step to the next; None for no
    limit. With `in_process` there is no child."""

    memory: int | None
    seconds: float | None
    network: bool = False
    in_process: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> Limits:
        """Return the limits that the parsed flags specify."""
        return cls(
            memory=options.max_memory,
            seconds=options.timeout_secs,
            network=getattr(options, "allow_network", False),
            in_process=options.in_process,
        )


def add_limit_flags(parser: argparse.ArgumentParser, *, network: bool = False) -> None:
    """Add the flags; that for the network only where the work may need one."""
    group = parser.add_argument_group(
        "isolation", "A child process opens the foreign files, without a network and with these limits."
    )
    group.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=_argument(memory_limit),
        default=default_memory(),
        help="memory that the child may use, such as 8G, or none for no limit (default: that of the machine or cgroup)",
    )
    group.add_argument(
        "--timeout-secs",
        metavar="N",
        type=_argument(seconds_limit),
        default=float(SECONDS),
        help=f"longest time from one step to the next, in seconds, or none for no limit (default: {SECONDS})",
    )
    if network:
        group.add_argument(
            "--allow-network",
            action="store_true",
            help="leave the network to the child, for a script that downloads files (default: off)",
        )
    group.add_argument(
        "--in-process",
        action="store_true",
        help="work without a child and its limits, for debugging and for files that you trust (default: off)",
    )


def default_memory() -> int | None:
    """Return the memory of the machine or cgroup in bytes; None where the system does not say."""
    memory = read_memory()
    return None if memory is None else memory.total


def shown_memory(size: int) -> str:
    """Return a number of bytes for a message: 7.5 GiB, 512 MiB."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def confine_memory(limit: int | None) -> None:
    """Limit this process's data, make it the first that the kernel ends when memory runs out, and write no core file.

    The limit is on data (RLIMIT_DATA), not on addresses: mapped files and what a GPU's driver reserves do not count.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if limit is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with suppress(OSError):  # not on Linux, or /proc is not mounted: then the kernel chooses
        _ADJUSTMENT.write_text(_FIRST_TO_END)


def is_memory_used_up() -> bool:
    """Return whether this process has almost as much data as it may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return False
    try:
        lines = _STATUS.read_text().splitlines()
    except (OSError, MemoryError):
        return False
    sizes = [int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")]
    return any(size >= _USED_UP * limit for size in sizes)


def bind_to_parent(parent: int, signal_number: int) -> None:
    """Let this process get a signal when the process `parent`, which started it, ends, and no new permissions from
    programs that it runs. Does nothing where the system is not Linux."""
    if sys.platform != "linux":
        return
    process_control(DEATH_SIGNAL, signal_number)
    process_control(NO_NEW_PRIVILEGES, 1)
    if os.getppid() != parent:  # it ended before the first call
        os.kill(os.getpid(), signal_number)


def describe_limits(memory: int | None, seconds: float | None, network: str) -> str:
    """Return the limits of a child for a report; `network` says what it has of the network."""
    size = "no limit of memory" if memory is None else f"at most {shown_memory(memory)} of memory"
    pause = "no limit of time" if seconds is None else f"{seconds:g} s from step to step"
    return f"a child process with {size}, {pause}, {network}"


def memory_limit(text: str) -> int | None:
    """Return a size such as 8G in bytes, None for "none"; raise ValueError for anything else."""
    if text == UNLIMITED:
        return None
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS[found[2].upper()] if found and len(found[1]) < 20 else 0.0
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise ValueError(f"'{text}' is not a size of at least 256M, such as 8G, or none")
    return int(size)


def seconds_limit(text: str) -> float | None:
    """Return a number of seconds, None for "none"; raise ValueError for anything else."""
    if text == UNLIMITED:
        return None
    seconds = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError(f"'{text}' is not a number of seconds above 0, or none")
    return float(seconds)


def _argument(read: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Return a reader whose errors argparse shows."""

    def read_argument(text: str) -> _Value:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_argument
