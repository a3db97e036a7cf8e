"""How many CPUs this process may use, from the system's limits. Does not know what computes on them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = _CGROUP) -> int:
    """Return how many CPUs this process may use: its affinity, limited by its cgroup's quota (version 2 or 1)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return available if quota is None else max(1, min(available, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the cgroup's CPU quota in CPUs, or None if it has no quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:  # "max" in version 2, -1 in version 1
        return None
    return int(quota) / int(period)
