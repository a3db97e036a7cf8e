"""Command-line flags derived from a dataclass: each field is a flag, and its metadata says how to read the value.

`option()` declares a field, a `Kind` reads a value, `read_words` and `read_values` turn a command line into field
values, `usage` makes the help text. Knows neither tritonserver's flags nor what a value means; error messages are
tritonserver's.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

_TRUE: Final = ("true", "on", "1")
_FALSE: Final = ("false", "off", "0")
_NO: Final = "no-"  # before the name of a boolean flag: it is false
_KEY: Final = "flag"  # of a field's metadata
_INT64: Final = 2**63 - 1
_WHOLE: Final = re.compile("[+-]?[0-9]+")
HIDDEN: Final = "********"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a value is read; `read` raises `ValueError` with the error message. `mask` returns a text without the secrets
    in it; None if there are none."""

    placeholder: str
    read: Callable[[str], Any]
    mask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; `gather` combines all given values into the field's value, None keeps the last one.

    `deprecated` holds old names that still work, with a warning.
    """

    name: str
    kind: Kind
    section: str
    help: str
    aliases: tuple[str, ...] = ()
    deprecated: tuple[str, ...] = ()
    gather: Callable[[Iterable[Any]], Any] | None = None


@dataclass(slots=True)
class CommandWords:
    """A command line, split into flags with their raw text, positional words, and problems."""

    given: list[tuple[str, str]]
    positional: list[str]
    problems: list[str]


# Kinds of values


def _read_boolean(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"invalid value for bool option: {text}")
    return word in _TRUE


def _read_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"Invalid option value. Got {text}") from None
    if not 0 < value < float("inf"):
        raise ValueError(f"Provided option value is out of bound. Got {text}")
    return value


def _read_directory(text: str) -> Path:
    if not text:  # Path("") would be the working directory
        raise ValueError("expected a directory, got an empty text")
    return Path(text)


def _read_file(text: str) -> Path:
    if not text:
        raise ValueError("expected a file, got an empty text")
    return Path(text)


def hidden(_: str) -> str:
    """Return what is shown instead of a secret."""
    return HIDDEN


BOOLEAN: Final = Kind("BOOL", _read_boolean)
TEXT: Final = Kind("TEXT", str)
FILE: Final = Kind("FILE", _read_file)
DIRECTORY: Final = Kind("DIRECTORY", _read_directory)
POSITIVE_FLOAT: Final = Kind("NUMBER", _read_float)


def whole(low: int = 0, high: int = _INT64) -> Kind:
    """Return the kind of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text):  # int() would accept "1_000" and the digits of other scripts
            raise ValueError(f"Invalid option value. Got {text}")
        value = int(text) if len(text) < 30 else _INT64 + 1
        if not low <= value <= high:
            raise ValueError(f"Provided option value is out of bound. Got {text}")
        return value

    return Kind("N", read)


def choice(*words: str, any_case: bool = False) -> Kind:
    """Return the kind of one of `words`, which are lower case if they are accepted in `any_case`."""

    def read(text: str) -> str:
        word = text.lower() if any_case else text
        if word not in words:
            raise ValueError(f"invalid argument {text}; expected one of {', '.join(words)}")
        return word

    return Kind("|".join(words), read)


# The flags of a dataclass


def option(
    section: str,
    default: object,
    kind: Kind,
    text: str,
    *,
    aliases: tuple[str, ...] = (),
    deprecated: tuple[str, ...] = (),
    gather: Callable[[Iterable[Any]], Any] | None = None,
) -> Any:
    """Return a dataclass field that is also a flag; a mutable `default` is copied for every instance."""
    flag = Flag("", kind, section, text, aliases, deprecated, gather)
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata={_KEY: flag})
    return field(default=default, metadata={_KEY: flag})


def flags_of(options: type) -> Iterator[Flag]:
    """Yield the flags of a dataclass in the order of its fields, those that it inherits last, named after them."""
    own = options.__annotations__
    for each in sorted(fields(options), key=lambda each: each.name not in own):
        flag = each.metadata.get(_KEY)
        if flag is not None:
            name = each.name.replace("_", "-")
            yield Flag(name, flag.kind, flag.section, flag.help, flag.aliases, flag.deprecated, flag.gather)


def field_name(flag: Flag) -> str:
    """Return the name of the field that `flag` sets."""
    return flag.name.replace("-", "_")


# Reading


def read_words(arguments: Sequence[str], kinds: Mapping[str, Kind]) -> CommandWords:
    """Split a command line into flags of `kinds` (`--flag=value`, `--flag value`) and the rest.

    A boolean flag needs no value: it takes the next word only if that is a boolean. `--no-flag` is `--flag=false`.
    """
    reading = CommandWords([], [], [])
    words = list(reversed(arguments))
    while words:
        word = words.pop()
        if not word.startswith("-"):
            reading.positional.append(word)
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        kind = kinds.get(name)
        positive = name.removeprefix(_NO)
        if kind is None and not equals and word == f"--{_NO}{positive}" and kinds.get(positive) is BOOLEAN:
            reading.given.append((positive, _FALSE[0]))
            continue
        if kind is None or not word.startswith("--"):
            close = get_close_matches(name.lower(), kinds, 1)
            hint = f"; did you mean '--{close[0]}'?" if close else ""
            if close and kinds[close[0]].mask is not None:  # what follows may be the secret
                word = word.removesuffix(f"{equals}{value}")
                if not equals and words and not words[-1].startswith("--"):
                    words.pop()
            reading.problems.append(f"unrecognized option '{word}'{hint}")
            continue
        if not equals and kind is BOOLEAN:
            value = words.pop() if words and words[-1].lower() in _TRUE + _FALSE else _TRUE[0]
        elif not equals and (not words or words[-1].startswith("--")):
            reading.problems.append(f"option '--{name}' requires an argument")
            continue
        elif not equals:
            value = words.pop()
        reading.given.append((name, value))
    return reading


def flag_name(name: str) -> str:
    """Return the name of a flag as it is typed."""
    return f"--{name}"


def read_values(
    given: Iterable[tuple[str, str]],
    flags: Iterable[Flag],
    problems: list[str],
    shown: Callable[[str], str] = flag_name,
) -> dict[str, Any]:
    """Return field values by field name; add errors to `problems`, with the names as `shown` returns them. A flag's own
    name takes precedence over deprecated ones, wherever they stand."""
    by_name = {name: flag for flag in flags for name in (flag.name, *flag.aliases, *flag.deprecated)}
    values: dict[str, list[Any]] = {}
    for name, text in sorted(given, key=lambda each: each[0] in by_name and each[0] not in by_name[each[0]].deprecated):
        flag = by_name.get(name)
        if flag is None:
            continue
        try:
            value = flag.kind.read(text)
        except ValueError as error:
            problems.append(f'Bad option: "{shown(name)}". {error}')
        else:
            values.setdefault(flag.name, []).append(value)
    read = {}
    for name, found in values.items():
        flag = by_name[name]
        read[field_name(flag)] = flag.gather(found) if flag.gather else found[-1]
    return read


# Help


def usage(head: str, flags: Iterable[Flag], defaults: object) -> str:
    """Return the help text: `head`, then the flags by section with the values they have in `defaults`."""
    sections: dict[str, list[str]] = {}
    for flag in flags:
        names = ", ".join(f"--{name}" for name in (flag.name, *flag.aliases))
        default = shown_default(getattr(defaults, field_name(flag)))
        notes = ", ".join(filter(None, ("repeatable" if flag.gather else "", f"default: {default}" if default else "")))
        text = wrap_help(f"{flag.help} ({notes})" if notes else flag.help, 74)
        lines = sections.setdefault(flag.section, [])
        lines.append("\n".join([f"  {names} {flag.kind.placeholder}", *(f"      {line}" for line in text)]))
    return "\n\n".join([head, *(f"{name}:\n" + "\n".join(lines) for name, lines in sections.items())])


def wrap_help(text: str, width: int) -> list[str]:
    """Return the lines of a help text, never broken at a hyphen or after "default:"."""
    kept = " ".join(text.split()).replace("default: ", "default:\N{NO-BREAK SPACE}")
    lines = textwrap.wrap(kept, width, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def shown_default(default: Any) -> str:
    """Return a default value as text, "" if there is nothing to show."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, dict):
        default = [f"{name}={str(value).lower()}" for name, value in default.items()]
    if isinstance(default, tuple | list):
        default = " ".join(map(str, default))
    return str(default)
