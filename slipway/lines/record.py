"""The output file as the record of a run: complete lines in it are done, whatever ended the run before.

Beside it, while a run is unfinished, `OUTPUT.progress` says of which input and model the lines are, so that a run goes
on only with what began it. Order of events: the old output is emptied, the side file written, lines appended, the side
file removed. A run that is killed between any two of them starts again or goes on, and never mistakes an older file for
its own. Lines are appended whole; one that was cut off in the middle is removed when the run goes on.
"""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from slipway.errors import SlipwayError, invalid
from slipway.lines.source import STANDARD, Survey

_BLOCK: Final = 1 << 20
_FEED: Final = b"\n"


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What has to be the same for a run to go on: the input, and the model and tensors that made the lines so far."""

    input: Survey
    model: str
    version: str
    input_name: str
    output_name: str


class LineOutput:
    """Where result lines go: a file, with its record, or a stream."""

    def __init__(self, name: str, descriptor: int, side_file: Path | None) -> None:
        self.name = name
        self._descriptor = descriptor
        self._side_file = side_file
        self.done = 0  # lines that an earlier run has written

    @classmethod
    def open(cls, name: str) -> LineOutput:
        """Open a path, which is created but not changed yet, or standard output for "-"; raise OSError, INVALID_ARG if
        another run writes to it."""
        if name == STANDARD:
            return cls(name, os.dup(1), None)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return cls(name, descriptor, None)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise invalid(f"another triton_client is writing '{name}'") from None
        return cls(name, descriptor, Path(f"{name}.progress"))

    @property
    def is_recorded(self) -> bool:
        """Whether an interrupted run can go on: the output is a file."""
        return self._side_file is not None

    def is_same_file(self, descriptor: int) -> bool:
        """Return whether an open file is this one."""
        return self.is_recorded and os.path.samestat(os.fstat(self._descriptor), os.fstat(descriptor))

    def begin(self, identity: RunIdentity | None, *, restart: bool) -> None:
        """Go on with an unfinished run of the same identity, or begin a new one; raise INVALID_ARG if the unfinished
        run was another one. Without an identity a run cannot go on later."""
        if self._side_file is None:
            return
        if not restart and self._side_file.exists():
            self._continue(self._side_file, identity)
            return
        self._side_file.unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)
        if identity is not None:
            temporary = self._side_file.with_name(f"{self._side_file.name}.new")
            temporary.write_bytes(orjson.dumps(asdict(identity), option=orjson.OPT_INDENT_2))
            temporary.replace(self._side_file)

    def write(self, lines: list[bytes]) -> None:
        """Append the lines."""
        data = memoryview(_FEED.join([*lines, b""]))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def finish(self) -> None:
        """Mark the output as complete."""
        if self._side_file is not None:
            os.fsync(self._descriptor)
            self._side_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, complete or not."""
        os.close(self._descriptor)

    def _continue(self, side_file: Path, identity: RunIdentity | None) -> None:
        begun = _read(side_file)
        if identity is None or begun != asdict(identity):
            raise self._other(side_file, begun, identity)
        self.done, end = self._complete_lines()
        if self.done > identity.input.lines:
            raise invalid(
                f"'{self.name}' has {self.done} lines, the input only {identity.input.lines}: something else wrote to "
                "it; --restart begins again"
            )
        os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, end, os.SEEK_SET)

    def _complete_lines(self) -> tuple[int, int]:
        """Return the number of complete lines, and where the last of them ends."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        lines = position = end = 0
        while block := os.read(self._descriptor, _BLOCK):
            lines += block.count(_FEED)
            last = block.rfind(_FEED)
            end = position + last + 1 if last >= 0 else end
            position += len(block)
        return lines, end

    def _other(self, side_file: Path, begun: object, identity: RunIdentity | None) -> SlipwayError:
        wanted = asdict(identity) if identity else {}
        found = begun if isinstance(begun, dict) else {}
        changed = [name.replace("_", " ") for name, value in wanted.items() if found.get(name) != value]
        what = f"another {' and '.join(changed)}" if changed else "an input that cannot be read again"
        return invalid(
            f"'{self.name}' is the unfinished output of a run, and this one has {what}: --restart begins again, or "
            f"choose another --output_file ('{side_file}' describes the unfinished run)"
        )


def _read(side_file: Path) -> object:
    try:
        return orjson.loads(side_file.read_bytes())
    except ValueError:
        raise invalid(f"'{side_file}' is damaged: --restart begins again") from None
