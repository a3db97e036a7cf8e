"""How many CPUs this process may use, from the system's limits. Does not know what computes on them."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath
from typing import Final

MEMBERSHIP: Final = Path("/proc/self/cgroup")  # which cgroups this process is in
_CGROUP: Final = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = _CGROUP, membership: Path = MEMBERSHIP) -> int:
    """Return how many CPUs this process may use: its affinity, limited by the quotas of its cgroup (version 2 or 1)
    and of those around it."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [
        *map(_quota_of_version_2, own_cgroups(cgroup, "", membership)),
        *map(_quota_of_version_1, own_cgroups(cgroup / "cpu", "cpu", membership)),
    ]
    return max(1, min([available, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def own_cgroups(root: Path, controller: str, membership: Path = MEMBERSHIP) -> list[Path]:
    """Return the directories of the process's cgroup and of those around it, `root` last.

    `controller` is one of version 1, with the root of its hierarchy; "" stands for version 2. In a container, the
    path may be the host's: then only the root exists.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        lines = []
    names = [line[-1] for line in lines if controller in line[1].split(",")]
    path = PurePosixPath(names[0].lstrip("/") if names else "")
    return [root / each for each in (path, *path.parents)]


def _quota_of_version_2(group: Path) -> float | None:
    """Return the group's CPU quota in CPUs, or None if it has no quota."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return _ratio(quota, period)


def _quota_of_version_1(group: Path) -> float | None:
    try:
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return None
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:  # "max" in version 2, -1 in version 1
        return None
    return int(quota) / int(period)
