"""What the work of a command may do to the world: show steps, print, ask for a directory, have files put in place.

`LocalConsole` does it in this process; in a child, `child.RemoteConsole` asks the command for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slipway.convert.steps import Show
from slipway.errors import unsupported

Staging = Callable[[Sequence[str]], AbstractContextManager[Path]]
Placing = Callable[[Mapping[Path, Path]], None]


class Console(Protocol):
    """The command as its work sees it."""

    @property
    def step(self) -> Show:
        """Return the function to call with each step."""

    def say(self, text: str) -> None:
        """Print a text on standard output."""

    def warn(self, text: str) -> None:
        """Print a text on standard error."""

    def stage(self, names: Sequence[str]) -> AbstractContextManager[Path]:
        """Return a directory to write to. When the block ends without an error, what was written takes the place of
        `names`; otherwise nothing is left of it. What `names` are is up to the command."""

    def place(self, files: Mapping[Path, Path]) -> None:
        """Put finished files in place, given as target -> source; raise `SlipwayError` if one cannot be written."""


def no_steps(_step: object) -> None:
    """Show nothing: a command without steps."""


def no_staging(names: Sequence[str]) -> AbstractContextManager[Path]:
    """Refuse: a command that writes its files itself."""
    raise unsupported(f"this command does not stage {', '.join(names)}")


def no_placing(files: Mapping[Path, Path]) -> None:
    """Refuse: a command that writes its files itself."""
    raise unsupported(f"this command does not place {', '.join(map(str, files))}")


@dataclass(frozen=True, slots=True)
class LocalConsole:
    """A console of functions. Implements `Console`."""

    say: Callable[[str], None]
    warn: Callable[[str], None]
    step: Show = no_steps
    stage: Staging = no_staging
    place: Placing = no_placing
