"""What `slipway serve --show-options` prints: each option, its value and where it comes from, without secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from slipway.config.exposure import AIP_VARIABLES
from slipway.config.flags import Flag, field_name, flags_of, shown_default
from slipway.config.option_sources import DEFAULT
from slipway.config.options import ServerOptions

_HEAD: Final = ("OPTION", "VALUE", "FROM")
_WIDEST: Final = 40  # columns of a value that shifts the column after it


def option_lines(options: ServerOptions) -> list[str]:
    """Return a head and one line for each value of each option, those of a repeatable one in their order."""
    rows = [_HEAD, *(row for flag in flags_of(ServerOptions) for row in _rows(flag, options))]
    name = max(len(row[0]) for row in rows)
    value = min(_WIDEST, max(len(row[1]) for row in rows))
    return [f"{row[0]:<{name}}  {row[1]:<{value}}  {row[2]}" for row in rows]


def _rows(flag: Flag, options: ServerOptions) -> Iterator[tuple[str, str, str]]:
    name = field_name(flag)
    given = options.given.get(name)
    if given is not None:
        for text in given.texts:
            yield flag.name, _printable(text), given.origin
        return
    value, default = getattr(options, name), getattr(ServerOptions(), name)
    if name == "model_repository":  # AIP_STORAGE_URI may be the URL of one
        value += tuple(each.text for each in options.remote_repositories)
    yield flag.name, _printable(shown_default(value)), DEFAULT if value == default else AIP_VARIABLES.get(name, DEFAULT)


def _printable(text: str) -> str:
    """Return a text without what would disturb a terminal; an empty one is visible."""
    return text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text or "-"
