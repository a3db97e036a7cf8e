"""docs/flags.md: the options of every command that are Slipway's own; those of tritonserver are in docs/triton.md.

`python -m slipway.cli.flags_page FILE` (`make docs`) writes the page from the tables and parsers of the commands.
tensor2tensor's, FasterTransformer's and LightSeq's commands have the options of the originals, which their `--help`
lists. Decides nothing itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from slipway.cli.attack import attack_parser
from slipway.cli.chat.options import chat_parser
from slipway.cli.check import check_parser
from slipway.cli.config import config_parser
from slipway.cli.convert_flags import convert_parser
from slipway.cli.infer_parser import infer_parser
from slipway.cli.markdown import code, flag_row, table
from slipway.cli.parser import CommandParser
from slipway.cli.verify import verify_parser
from slipway.config.flags import flags_of
from slipway.config.options import ServerOptions
from slipway.config.triton_flags import TRITON_FLAGS
from slipway.config.variables import OTHER_VARIABLES
from slipway.proxy.options import ProxyOptions

_HEAD: Final = """# Options

The options of Slipway's commands, as `slipway COMMAND --help` prints them. `slipway serve` also has tritonserver's,
which are in [triton.md](triton.md) with the fields of config.pbtxt. Each option of `slipway serve` can be a variable
or a key of a file too ([options.md](options.md)). The commands of tensor2tensor, FasterTransformer and LightSeq have
the options of the originals; their `--help` lists them. `make docs` writes this page from the tables that the
commands use.

A `BOOL` is `true`, `on` or `1`, or `false`, `off` or `0`; a flag without a value is true, and
`--no-FLAG` is `--FLAG=false`.
"""
_FLAGS: Final = ("Flag", "Value", "Default", "What it does")
_PARSERS: Final[tuple[Callable[[], CommandParser], ...]] = (
    convert_parser,
    infer_parser,
    chat_parser,
    check_parser,
    config_parser,
    verify_parser,
    attack_parser,
)


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *(f"{head}\n\n{text}\n" if text else f"{head}\n" for head, text in _sections())])


def _sections() -> Iterator[tuple[str, str]]:
    yield "## slipway serve", ""
    yield from _grouped(ServerOptions, TRITON_FLAGS)
    yield "## slipway proxy", ""
    yield from _grouped(ProxyOptions, frozenset())
    for parser in _PARSERS:
        for command, actions in groupby(parser().documented(), key=lambda each: each[0]):
            rows = [_action_row(command, action) for _, action in actions]
            yield f"## {command}", table(("Option", "Value", "What it does"), rows)
    variables = table(("Variable", "What it is"), ((code(name), text) for name, text in OTHER_VARIABLES.items()))
    yield "## Variables that are not options", variables


def _grouped(options: type, without: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield a table for each section of the help text, without the flags named in `without`."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    for flag in flags_of(options):
        if flag.name not in without:
            sections.setdefault(flag.section, []).append(flag_row(flag, options()))
    for section, rows in sections.items():
        yield f"### {section}", table(_FLAGS, rows)


def _action_row(command: str, action: argparse.Action) -> tuple[str, str, str]:
    """Return names, value and help text of an option or argument; the help text ends with the default."""
    if not action.option_strings:
        return code(_placeholder(action)), "", _help(command, action)
    value = "" if action.nargs == 0 else code(_placeholder(action))
    needed = "; required" if action.required else ""
    return code(*action.option_strings), value, _help(command, action) + needed


def _placeholder(action: argparse.Action) -> str:
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _help(command: str, action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": command}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
