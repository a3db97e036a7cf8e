"""What this machine is and can do: its processor and GPUs, as Linux shows them. How many cores: `cores.py`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from slipway.cores import cpu_limit

_GPUS: Final = Path("/proc/driver/nvidia/gpus")
_GPU_PLACES: Final = (_GPUS, Path("/dev/dxg"))  # the second is a GPU seen from Windows' WSL


@dataclass(frozen=True, slots=True)
class Machine:
    """What the models are to run on."""

    cpus: int
    gpus: int

    @classmethod
    def here(cls) -> Machine:
        """Return this machine, within the limits of the process's cgroup."""
        return cls(cpu_limit(), gpu_count())


def gpu_count(directory: Path = _GPUS) -> int:
    """Return how many NVIDIA GPUs the driver shows."""
    try:
        return sum(1 for _ in directory.iterdir())
    except OSError:
        return 0


def has_gpu(places: Sequence[Path] = _GPU_PLACES) -> bool:
    """Return whether there is an NVIDIA GPU at all, without importing a library that could use it."""
    return any(place.exists() for place in places)


def processor_name() -> str:
    """Return what the processor calls itself."""
    return _field("model name") or platform.processor() or platform.machine()


def describe_machine() -> str:
    """Return processor and cores, for people."""
    return f"{processor_name()}, {cpu_limit()} cores, {platform.system()}, Python {platform.python_version()}"


def has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 itself; elsewhere that precision only costs digits."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint((_field("flags") or _field("Features")).split())


@cache
def _field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")
