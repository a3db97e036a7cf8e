"""Calls of the Linux kernel that Python does not offer before 3.12, through the C library."""

from __future__ import annotations

import ctypes
import os
from typing import Final

DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
NO_NEW_PRIVILEGES: Final = 38  # PR_SET_NO_NEW_PRIVS
SET_SECCOMP: Final = 22  # PR_SET_SECCOMP
NEW_USER: Final = 0x10000000  # CLONE_NEWUSER, unshare(2)
NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET


def process_control(option: int, value: int, address: int = 0) -> None:
    """Call prctl; raise OSError if the kernel refuses."""
    none = ctypes.c_ulong(0)
    _checked(_library().prctl(option, ctypes.c_ulong(value), ctypes.c_void_p(address), none, none))


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags`; raise OSError if the kernel refuses."""
    _checked(_library().unshare(flags))


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
