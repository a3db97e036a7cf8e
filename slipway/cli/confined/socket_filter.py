"""A seccomp filter that refuses sockets other than local ones, for systems without network namespaces, such as most
containers.

Classic BPF over `struct seccomp_data` (seccomp(2)): the system call's number is at offset 0, the architecture at 4, the
first argument at 16. The filter stays with the process and all that it starts.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
from dataclasses import dataclass
from typing import Final

from slipway.cli.confined.system import NO_NEW_PRIVILEGES, SET_SECCOMP, process_control

_FILTER_MODE: Final = 2  # SECCOMP_MODE_FILTER
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000  # SECCOMP_RET_ALLOW
_REFUSE: Final = 0x00050000 | errno.EACCES  # SECCOMP_RET_ERRNO
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
_OTHER_TABLE: Final = 0x40000000  # numbers of x32, a second way to the same calls on x86-64
_RING: Final = 425  # io_uring_setup, which opens sockets without the system call
_LOCAL: Final = (socket.AF_UNIX, getattr(socket, "AF_NETLINK", 16))


@dataclass(frozen=True, slots=True)
class Processor:
    """How the kernel names a processor (AUDIT_ARCH), and the number of socket(2) on it."""

    audit: int
    socket: int


PROCESSORS: Final = {"x86_64": Processor(0xC000003E, 41), "aarch64": Processor(0xC00000B7, 198)}


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def refuse_sockets() -> None:
    """Refuse sockets of this process and all that it starts from now on; raise OSError if the kernel cannot."""
    lines = program(PROCESSORS[platform.machine()])
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    process_control(NO_NEW_PRIVILEGES, 1)
    filter_program = _Program(len(lines), code)  # a name, so that it is in memory until the call returns
    process_control(SET_SECCOMP, _FILTER_MODE, ctypes.addressof(filter_program))


def program(processor: Processor) -> list[tuple[int, int, int, int]]:
    """Return the filter as instructions: operation, jump if true, jump if false, operand."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, 9, processor.audit),  # else refuse: another table of numbers
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 7, 0, _OTHER_TABLE),
        (_EQUAL, 6, 0, _RING),
        (_EQUAL, 0, 4, processor.socket),
        (_LOAD, 0, 0, _ARGUMENT),
        (_EQUAL, 2, 0, _LOCAL[0]),
        (_EQUAL, 1, 0, _LOCAL[1]),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
