"""What a target is: a function of bytes that calls one reader and may only raise `SlipwayError`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.errors import SlipwayError, unforeseen

SEEDS: Final = Path(__file__).parent / "seeds"
_UNFORESEEN: Final = unforeseen(Exception()).message


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. `read` gets the bytes; `words` are what its format is written in, for mutations; `needs` are
    packages without which it cannot run; `slow` targets get fewer inputs in the tests."""

    name: str
    read: Callable[[bytes], object]
    words: tuple[bytes, ...] = ()
    needs: tuple[str, ...] = ()
    slow: bool = False

    def __call__(self, data: bytes) -> None:
        """Read `data`; every exception but `SlipwayError` is a finding, and so is one that hides another."""
        try:
            self.read(data)
        except SlipwayError as error:
            if error.message == _UNFORESEEN:
                raise

    @property
    def directory(self) -> Path:
        """The directory of its seeds."""
        return SEEDS / self.name

    def seeds(self) -> list[bytes]:
        """Return the seeds, in the order of their names."""
        return [path.read_bytes() for path in sorted(self.directory.iterdir()) if path.name[0] != "."]


@contextmanager
def in_directory(name: str, data: bytes, **others: bytes) -> Iterator[Path]:
    """Yield a directory with `data` in the file `name`, and others whose names have `__` for a dot."""
    with tempfile.TemporaryDirectory(prefix="slipway-fuzz-") as text:
        directory = Path(text)
        for file, content in {name: data, **{key.replace("__", "."): each for key, each in others.items()}}.items():
            (directory / file).write_bytes(content)
        yield directory


def text_of(data: bytes) -> str:
    """Return the bytes as text, for readers that are given text; what is not UTF-8 is replaced."""
    return data.decode("utf-8", errors="replace")
