"""The machine's processor and GPUs, as Linux reports them. `cores.py` counts the cores."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from slipway.cores import cpu_limit

_GPUS: Final = Path("/proc/driver/nvidia/gpus")
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


def processor_name() -> str:
    """Return the processor's model name."""
    return _field("model name") or platform.processor() or platform.machine()


def describe_machine() -> str:
    """Return processor, cores, system and Python version as one line of text."""
    return f"{processor_name()}, {cpu_limit()} cores, {platform.system()}, Python {platform.python_version()}"


def has_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 instructions; without them bfloat16 costs accuracy and gains no speed."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint((_field("flags") or _field("Features")).split())


@cache
def _field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")
