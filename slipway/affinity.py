"""Which processors a thread runs on, and the processors of a NUMA node, as Linux manages them.

A thread's processors are those of the threads and processes that it starts afterwards. Memory belongs to the node of
the processor that first writes to it, so a model whose threads run on a node also has its memory there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.errors import SlipwayError, internal, invalid, unsupported

_NODES: Final = Path("/sys/devices/system/node")


def stay_on(cpus: Collection[int]) -> None:
    """Run the calling thread only on `cpus` from now on; () changes nothing. Raise INTERNAL if it cannot run there."""
    if not cpus:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise unsupported("host policies need Linux")
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise internal(f"Unable to set NUMA thread affinity: {error.strerror} (CPUs {in_ranges(cpus)})") from error


@contextmanager
def running_on(cpus: Collection[int]) -> Iterator[None]:
    """Run the calling thread only on `cpus` inside the block, and what it starts there for good; () changes nothing.

    Raise INTERNAL if it cannot run there.
    """
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    stay_on(cpus)
    try:
        yield
    finally:
        stay_on(before)


def node_cpus(node: int, nodes: Path = _NODES) -> frozenset[int]:
    """Return the processors of a NUMA node; raise INVALID_ARG if the machine does not have the node."""
    try:
        return from_ranges((nodes / f"node{node}" / "cpulist").read_text().strip())
    except OSError as error:
        raise _no_node(node, nodes) from error


def _no_node(node: int, nodes: Path) -> SlipwayError:
    try:
        present = sorted(path.name.removeprefix("node") for path in nodes.glob("node[0-9]*"))
    except OSError:
        present = []
    return invalid(f"this machine does not have the NUMA node {node}; it has {', '.join(present) or 'none'}")


def from_ranges(text: str) -> frozenset[int]:
    """Return the numbers of Linux's list format, such as `0-3,8`; "" is none."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    return frozenset(numbers)


def in_ranges(cpus: Collection[int]) -> str:
    """Return the numbers in Linux's list format, such as `0-3,8`."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
