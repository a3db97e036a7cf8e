"""What a child prints, held back: only the end of it is kept, however much it prints."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final, Self

_KEPT: Final = 1 << 20  # bytes
_PART: Final = 64 << 10
_PATIENCE_S: Final = 1.0  # a process that the child started may keep the pipe open


class HeldOutput:
    """A pipe for the child's output, read by a thread. `given` has to be called once the child has it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def fileno(self) -> int:
        """Return the descriptor to write to."""
        return self._write

    def given(self) -> None:
        """Begin to read; the child alone can write from now on."""
        os.close(self._write)
        self._write = -1
        self._thread.start()

    def tail(self) -> bytes:
        """Return the end of what was printed."""
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        return bytes(self._kept)

    def _keep(self) -> None:
        while part := os.read(self._read, _PART):
            self._kept += part
            del self._kept[:-_KEPT]
        os.close(self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._write >= 0:  # no child was started
            os.close(self._write)
            os.close(self._read)
