"""Keyword arguments of `slipway.Server` as the command line of `slipway serve`, which checks them.

Pure. The argument `x_y` is the flag `--x-y`; what Python has types for becomes the flag's text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from slipway.config import unserved
from slipway.config.conversion_flags import ConversionFlags
from slipway.config.exposure import exposure_warnings
from slipway.config.flags import field_name, flags_of
from slipway.config.options import ServerOptions, fronts, parse_options
from slipway.errors import invalid
from slipway.nearest import nearest_or_all

# The program decides where its log goes. Options also come from variables (SLIPWAY_*), which other servers may use.
_LOGGING: Final = ("log_info", "log_warning", "log_error", "log_format", "log_file")
_NO_LOGGING: Final = "configure Python's logger 'slipway' instead"
_COMMANDS: Final = ("show_options",)  # make the command do something else
_CONVERSION: Final = tuple(ConversionFlags.__annotations__)
_NO_CONVERSION: Final = "it serves model repositories; 'slipway convert' writes one"


def read_options(repositories: tuple[str, ...], given: Mapping[str, Any]) -> ServerOptions:
    """Return the options of a server; raise INVALID_ARG, as for flags, with all errors."""
    words = [word for name, value in given.items() for word in _words(name, value)]
    options = parse_options([*(f"--model-repository={path}" for path in repositories), *words])
    usual = {each.name: each.default for each in fields(ServerOptions)}
    unheard = [name for name in _LOGGING if getattr(options, name) != usual[name]]
    warnings = [f"{name} has no effect on slipway.Server: {_NO_LOGGING}" for name in unheard]
    return replace(options, warnings=(*options.warnings, *warnings, *exposure_warnings(fronts(options))))


def check_names(given: Mapping[str, Any]) -> None:
    """Raise INVALID_ARG, with the nearest name, for an argument that is not an option of a server."""
    names = option_names()
    for name in given:
        if name in _LOGGING:
            raise invalid(f"{name} is not an option of slipway.Server: {_NO_LOGGING}")
        if name in _CONVERSION:
            raise invalid(f"{name} is not an option of slipway.Server: {_NO_CONVERSION}")
        if name not in names:
            raise invalid(f"slipway.Server has no option '{name}'{nearest_or_all(name, names)}")


def option_names() -> list[str]:
    """Return the names of the options, without deprecated ones."""
    flags = [field_name(flag) for flag in flags_of(ServerOptions)]
    others = [each.replace("-", "_") for each in unserved.KINDS]
    return [name for name in (*flags, *others) if name not in (*_LOGGING, *_COMMANDS, *_CONVERSION)]


def _words(name: str, value: Any) -> Iterator[str]:
    """Yield the words of one argument: none for None, one for each element of a sequence or a mapping."""
    flag = f"--{name.replace('_', '-')}="
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Mapping):
                prefix = f"{key}," if key else ""
                yield from (f"{flag}{prefix}{each}={_text(name, part)}" for each, part in inner.items())
            else:
                yield f"{flag}{key}={_text(name, inner)}"
    elif isinstance(value, list | tuple | set | frozenset):
        if name not in _repeatable():
            raise invalid(f"{name} has one value, not {len(value)}")
        yield from (flag + _text(name, each) for each in value)
    else:
        yield flag + _text(name, value)


def _repeatable() -> frozenset[str]:
    return frozenset(field_name(flag) for flag in flags_of(ServerOptions) if flag.gather is not None)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise invalid(f"{name} has a value of type {type(value).__name__}, expected text, a number, a bool or a path")
