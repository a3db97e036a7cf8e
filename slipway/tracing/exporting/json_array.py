"""A file that holds a JSON array, to which elements are appended; it is complete after each of them.

A disk that is full costs only what does not fit: what was written of it is taken back. What is not a regular file (a
pipe, a terminal) is written in order, and gets its last bracket when it is closed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

_MODE: Final = 0o666  # with the process's mask, as tritonserver's
_BEGIN: Final = b"["
_END: Final = b"]"
_SEPARATOR: Final = b",\n"


class JsonArrayFile:
    """An array in the file `path`, which is replaced."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        self._is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._end = 0  # where the last bracket is
        self._is_empty = True
        self._is_torn = False  # not a regular file, and it got a part of an element

    def append(self, elements: str) -> None:
        """Append elements, which are separated by commas; raise `OSError` if they cannot be written."""
        data = (_BEGIN if self._is_empty else _SEPARATOR) + elements.encode()
        if self._is_regular:
            self._append_regular(data)
        else:
            self._write(b"\n" + data if self._is_torn else data)
        self._is_empty = False

    def _append_regular(self, data: bytes) -> None:
        try:
            self._write(data + _END, self._end)
        except OSError:
            with suppress(OSError):  # the bracket was there before: there is room for it
                os.ftruncate(self._descriptor, self._end)
                if not self._is_empty:
                    os.pwrite(self._descriptor, _END, self._end)
            raise
        self._end += len(data)

    def _write(self, data: bytes, offset: int | None = None) -> None:
        size = len(data)
        while data:
            try:
                if offset is None:
                    count = os.write(self._descriptor, data)
                else:
                    count = os.pwrite(self._descriptor, data, offset)
                    offset += count
            except OSError:
                self._is_torn = len(data) < size
                raise
            data = data[count:]
        self._is_torn = False

    def close(self) -> None:
        """End the array and close the file."""
        if not (self._is_regular or self._is_empty):
            with suppress(OSError):
                self._write(_END)
        os.close(self._descriptor)
