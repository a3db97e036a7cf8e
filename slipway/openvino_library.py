"""Import OpenVINO without its telemetry, and keep a thread's signal stack while it loads its CPU plugin.

On CPUs with AVX-512 the plugin gives the loading thread an alternate signal stack (`sigaltstack`) of its own and unmaps
it when the plugin is unloaded, by whichever thread that happens in and whether or not it is still in use (2026.4).
Python runs its signal handlers on that stack, so the next signal to the loading thread then kills the process without a
word: Ctrl-C during `slipway convert`, for example. Knows neither models nor engines.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def import_openvino() -> Any:
    """Return the module `openvino`, imported without its telemetry. Nothing may import it (or nncf) before this call.

    `import openvino` sends an event over the network and writes an identifier below the home directory, unless the
    package `openvino_telemetry` is missing: it is declared missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: refuse to import it
    import openvino

    return openvino


class _Stack(ctypes.Structure):
    """`stack_t` of Linux; no other system's plugin sets one."""

    _fields_ = [("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give the calling thread its alternate signal stack back after the block, in which the plugin may be loaded."""
    if sys.platform != "linux":
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    before = _Stack()
    _check(library.sigaltstack(None, ctypes.byref(before)))
    try:
        yield
    finally:
        _check(library.sigaltstack(ctypes.byref(before), None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
