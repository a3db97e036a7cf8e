"""argparse with tritonserver's exit code for wrong usage, 1 instead of 2, and names kept whole in help texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from slipway.config.flags import wrap_help
from slipway.config.restrictions import HEADER, HEADER_HELP


class HelpFormatter(argparse.HelpFormatter):
    """Wraps the help of an argument as `slipway serve --help` does."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap_help(text, width)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on standard error and exit code 1."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": HelpFormatter} | settings)

    def error(self, message: str) -> NoReturn:
        """Print `message` with a pointer to --help and exit."""
        print(f"error: {message} (see '{self.prog} --help')", file=sys.stderr)
        raise SystemExit(1)

    def knows(self, flag: str) -> bool:
        """Return whether `flag` is an option of this command, or the beginning of one."""
        return any(option.startswith(flag) for option in self._option_string_actions)

    def documented(self) -> Iterator[tuple[str, argparse.Action]]:
        """Yield the arguments and options of this command, and of its actions, each with the command it belongs to."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  argparse has no public name for it
                for each in action.choices.values():
                    yield from each.documented()
            elif not isinstance(action, argparse._HelpAction):  # noqa: SLF001  the same
                yield self.prog, action

    def long_options(self) -> list[str]:
        """Return the long names of all options."""
        return [option for option in self._option_string_actions if option.startswith("--")]


def add_header(parser: CommandParser) -> None:
    """Add --header, which is read to pairs of a name and a value."""
    parser.add_argument(
        "--header",
        metavar=HEADER.placeholder,
        type=_header,
        action="append",
        default=[],
        help=f"{HEADER_HELP} (repeatable)",
    )


def _header(text: str) -> tuple[str, str]:
    try:
        pair: tuple[str, str] = HEADER.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return pair
