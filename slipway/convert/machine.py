"""What the processor of this machine is and can do, as Linux tells."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from slipway.cores import cpu_limit


def describe_machine() -> str:
    """Return processor and cores, for people."""
    name = _field("model name") or platform.processor() or platform.machine()
    return f"{name}, {cpu_limit()} cores, {platform.system()}, Python {platform.python_version()}"


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
