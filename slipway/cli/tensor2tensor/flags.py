"""Flags as absl reads them, which tensor2tensor's commands use: `--name=value`, `--name value`, `--name` and `--noname`
for booleans, underscores and dashes alike, one dash or two.

A command's flags are the fields of a dataclass (`config/flags.py`). Every command also accepts `--help` and
`--version`. Mistakes are listed together on standard error, with the nearest name of an unknown flag, and exit with
code 2. Knows no command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final, Generic, NoReturn, TypeVar

from slipway import __version__
from slipway.config import flags as dataclass_flags
from slipway.config.flags import BOOLEAN, Flag, Kind, flags_of, option, read_values

_Options = TypeVar("_Options")
_WRONG_USAGE: Final = 2
_TRUE: Final = "true"
_FALSE: Final = "false"
_SECTION: Final = "Flags"
_WIDTH: Final = 80  # columns of the help
_VALUES: Final = "A flag is --name=value or --name value; a BOOL is --name, --noname or --name=true|false."


@dataclass(frozen=True, slots=True)
class AbslCommand(Generic[_Options]):
    """One command: its name, what it does in one sentence, and the dataclass whose fields are its flags.

    `required` names the fields that must be given; `ignored` has the flags of the original command that have no effect
    here, each with the reason, which a warning repeats.
    """

    name: str
    summary: str
    options: type[_Options]
    required: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)

    def flags(self) -> list[Flag]:
        """Return the flags, named with underscores."""
        return [replace(flag, name=_plain(flag.name)) for flag in flags_of(self.options)]


def flag(
    default: object,
    kind: Kind,
    text: str,
    *,
    section: str = _SECTION,
    aliases: tuple[str, ...] = (),
    gather: Callable[[Iterable[Any]], Any] | None = None,
) -> Any:
    """Return a dataclass field that is a flag; the last value counts unless `gather` combines all of them."""
    return option(section, default, kind, text, aliases=tuple(map(_plain, aliases)), gather=gather)


def read_flags(command: AbslCommand[_Options], arguments: Sequence[str]) -> _Options:
    """Return the options in a command line; print and exit 0 for --help and --version, exit 2 for mistakes."""
    flags = command.flags()
    kinds = {_plain(name): flag.kind for flag in flags for name in (flag.name, *flag.aliases)}
    words = _Words(kinds, command.ignored)
    words.read(arguments)
    if words.asks_help:
        print(_usage(command, flags))
        raise SystemExit(0)
    if words.asks_version:
        print(version_line(command.name))
        raise SystemExit(0)
    values = read_values(words.given, flags, words.problems)
    missing = [name for name in command.required if name not in values]
    words.problems += [] if words.problems else [f"--{name} is missing" for name in missing]
    if words.problems:
        _refuse(command.name, words.problems)
    for name in dict.fromkeys(words.without_effect):
        print(f"warning: --{name} is ignored: {command.ignored[name]}", file=sys.stderr)
    return command.options(**values)


def version_line(name: str) -> str:
    """Return what `--version` of a command prints: its name and Slipway's version."""
    return f"{name} {__version__}"


class _Words:
    """A command line, split into flags with their raw text and problems."""

    def __init__(self, kinds: Mapping[str, Kind], ignored: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._ignored = ignored
        self.given: list[tuple[str, str]] = []
        self.without_effect: list[str] = []
        self.problems: list[str] = []
        self.asks_help = self.asks_version = False

    def read(self, arguments: Sequence[str]) -> None:
        """Read all words."""
        words = list(reversed(arguments))
        while words:
            word = words.pop()
            if not word.startswith("-") or word in ("-", "--"):
                self.problems.append(f"unexpected argument '{word}': values follow a flag, as in --name=value")
                continue
            name, equals, value = word.lstrip("-").partition("=")
            self._read_flag(word, _plain(name), value if equals else None, words)

    def _read_flag(self, word: str, name: str, value: str | None, following: list[str]) -> None:
        negated = name.removeprefix("no").removeprefix("_")
        if value is None and name in ("help", "helpfull", "helpshort", "h"):
            self.asks_help = True
        elif value is None and name == "version":
            self.asks_version = True
        elif name in self._kinds:
            self._read_value(name, value, following)
        elif value is None and name.startswith("no") and self._kinds.get(negated) is BOOLEAN:
            self.given.append((negated, _FALSE))
        elif name in self._ignored:
            self.without_effect.append(name)
            if value is None and following and not following[-1].startswith("-"):
                following.pop()
        elif negated in self._ignored:
            self.without_effect.append(negated)
        else:
            self.problems.append(f"unknown flag '{word}'{self._advice(name)}")

    def _read_value(self, name: str, value: str | None, following: list[str]) -> None:
        if value is not None:
            self.given.append((name, value))
        elif self._kinds[name] is BOOLEAN:
            self.given.append((name, _TRUE))
        elif not following:
            self.problems.append(f"--{name} needs a value")
        else:
            self.given.append((name, following.pop()))

    def _advice(self, name: str) -> str:
        close = get_close_matches(name, [*self._kinds, *self._ignored, "help", "version"], 1)
        return f"; did you mean --{close[0]}?" if close else ""


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _usage(command: AbslCommand[_Options], flags: Sequence[Flag]) -> str:
    about = ("\n".join(dataclass_flags.wrap_help(text, _WIDTH)) for text in (command.summary, _VALUES))
    head = "\n\n".join([f"usage: {command.name} [--flag=value ...]", *about])
    required = [
        replace(each, help=f"{each.help}; required") if each.name in command.required else each for each in flags
    ]
    text = dataclass_flags.usage(head, required, command.options())
    if not command.ignored:
        return text
    reasons = (dataclass_flags.wrap_help(f"--{name}: {reason}", _WIDTH - 6) for name, reason in command.ignored.items())
    names = "\n".join("\n      ".join([f"  {first}", *rest]) for first, *rest in reasons)
    return f"{text}\n\nAccepted and ignored:\n{names}"


def _refuse(name: str, problems: Iterable[str]) -> NoReturn:
    lines = [f"error: {problem}" for problem in dict.fromkeys(problems)]
    print("\n".join([*lines, f"see '{name} --help'"]), file=sys.stderr)
    raise SystemExit(_WRONG_USAGE)
