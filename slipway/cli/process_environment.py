"""Settings that native libraries read only when a process begins: `slipway serve` begins again with them once.

Whatever the user has set stays as it is. Measured with T5-base on two virtual cores, tokens/s of one row:

- Weights on huge pages (glibc asks the kernel for them; every token reads every weight): torch float32 with one thread
  16.5 -> 19, CTranslate2 float32 14 -> 19, int8 49 -> 68. A server without models stays as small as it is.
- OpenMP's waiting threads give up their core after about a tenth of a millisecond instead of spinning for 15: torch
  int8 with two threads beside another busy process 10 -> 24.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HUGE_PAGES: Final = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
SPINNING: Final = ("GOMP_SPINCOUNT", "2000")
# By any of these a user has said how threads wait.
_WAITING: Final = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
_PAGES: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def missing_settings(environment: Mapping[str, str], *, pages: str, libc: str) -> dict[str, str]:
    """Return what to add to `environment`; `pages` is the kernel's setting of huge pages, `libc` the library's name."""
    settings: dict[str, str] = {}
    if libc == "glibc" and "[madvise]" in pages and HUGE_PAGES[0] not in environment:
        settings.update([HUGE_PAGES])
    if not any(name in environment for name in _WAITING):
        settings.update([SPINNING])
    return settings


def begin_again() -> None:
    """Replace this process by one with the settings, when any is missing; return when none is. The process id stays."""
    if not sys.platform.startswith("linux"):
        return
    pages = _PAGES.read_text() if _PAGES.is_file() else ""
    settings = missing_settings(os.environ, pages=pages, libc=platform.libc_ver()[0])
    if settings:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})  # noqa: S606
