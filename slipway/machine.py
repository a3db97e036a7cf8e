"""The machine's processor, memory and GPUs, as Linux reports them. `cores.py` counts the cores."""

from __future__ import annotations

import platform
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from slipway.cores import MEMBERSHIP, cpu_limit, own_cgroups

_GPUS: Final = Path("/proc/driver/nvidia/gpus")
_CGROUP: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")
_STATM: Final = Path("/proc/self/statm")
# The files with a cgroup's limit, usage and statistics, and the statistic that counts droppable pages.
_VERSION_2: Final = ("memory.max", "memory.current", "memory.stat", "inactive_file")
_VERSION_1: Final = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.stat",
    "total_inactive_file",
)
_GPU_PLACES: Final = (_GPUS, Path("/dev/dxg"))  # /dev/dxg is a GPU in the Windows Subsystem for Linux


@dataclass(frozen=True, slots=True)
class Machine:
    """The CPUs and GPUs that models can run on."""

    cpus: int
    gpus: int

    @classmethod
    def here(cls) -> Machine:
        """Return this machine, within the limits of the process's cgroup."""
        return cls(cpu_limit(), gpu_count())


def gpu_count(directory: Path = _GPUS) -> int:
    """Return the number of NVIDIA GPUs that the driver lists."""
    try:
        return sum(1 for _ in directory.iterdir())
    except OSError:
        return 0


def has_gpu(places: Sequence[Path] = _GPU_PLACES) -> bool:
    """Return whether the machine has an NVIDIA GPU, without importing a GPU library."""
    return any(place.exists() for place in places)


@dataclass(frozen=True, slots=True)
class Memory:
    """The main memory that this process may use, in bytes."""

    total: int
    used: int


def read_memory(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO, membership: Path = MEMBERSHIP) -> Memory | None:
    """Return the memory of the process's cgroup (version 2 or 1) where that has a limit, else that of the machine.

    Limits of the groups around it count too. Pages of files that the kernel can drop at once are not counted as used.
    None where Linux's files are missing.
    """
    try:
        lines = (line.split() for line in meminfo.read_text().splitlines())
        host = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if len(line) > 1}
        machine = Memory(host["MemTotal"], host["MemTotal"] - host["MemAvailable"])
    except (OSError, KeyError, ValueError):
        return None
    groups = [
        *(_cgroup_memory(group, *_VERSION_2) for group in own_cgroups(cgroup, "", membership)),
        *(_cgroup_memory(group, *_VERSION_1) for group in own_cgroups(cgroup / "memory", "memory", membership)),
    ]
    return min((machine, *filter(None, groups)), key=lambda memory: memory.total)


def free_address_space() -> int | None:
    """Return how many bytes of virtual memory the process may still map (`ulimit -v`); None without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(_STATM.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return limit
    return max(0, limit - pages * resource.getpagesize())


def _cgroup_memory(group: Path, limit: str, usage: str, statistics: str, droppable: str) -> Memory | None:
    try:
        total, used = (int((group / name).read_text()) for name in (limit, usage))
        lines = (line.split() for line in (group / statistics).read_text().splitlines())
        dropped = next((int(line[1]) for line in lines if line[:1] == [droppable]), 0)
    except (OSError, ValueError):  # no such cgroup, or "max"
        return None
    return Memory(total, max(0, used - dropped))


def resident_memory() -> int | None:
    """Return the main memory that this process takes, in bytes; None where the system does not say."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def return_free_memory() -> None:
    """Give the memory that the C library keeps for later use back to the system; does nothing where it cannot.

    It takes milliseconds, in which threads that allocate memory may wait.
    """
    import ctypes  # a server that never had a large request does without it

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def processor_name() -> str:
    """Return the processor's model name."""
    return _field("model name") or platform.processor() or platform.machine()


def describe_machine() -> str:
    """Return processor, cores, system and Python version as one line of text."""
    return f"{processor_name()}, {cpu_limit()} cores, {platform.system()}, Python {platform.python_version()}"


def has_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 instructions; without them bfloat16 costs accuracy and gains no speed."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(processor_features())


def processor_features() -> list[str]:
    """Return the names of the processor's instruction sets and other features, sorted; none where Linux's files are
    missing."""
    return sorted((_field("flags") or _field("Features")).split())


@cache
def _field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")
