"""The processor and memory gauges, read from /proc and the cgroup (Linux; elsewhere there are none)."""

from __future__ import annotations

from pathlib import Path

from slipway.machine import read_memory

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # columns idle and iowait of the `cpu` line (proc(5))


class ProcessorGauges:
    """Reads the gauges; utilisation is measured since the previous reading."""

    def __init__(self) -> None:
        self._busy = 0
        self._total = 0

    def read(self) -> dict[str, float]:
        """Return utilisation (0 to 1) and memory in bytes by metric name; an empty dictionary without /proc."""
        try:
            ticks = [int(value) for value in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        except OSError:
            return {}
        memory = read_memory()
        if memory is None:
            return {}
        total, busy = sum(ticks), sum(ticks) - sum(ticks[column] for column in _IDLE)
        elapsed = total - self._total
        utilization = (busy - self._busy) / elapsed if elapsed > 0 else 0.0
        self._busy, self._total = busy, total
        return {
            "nv_cpu_utilization": min(max(utilization, 0.0), 1.0),
            "nv_cpu_memory_total_bytes": memory.total,
            "nv_cpu_memory_used_bytes": memory.used,
        }
