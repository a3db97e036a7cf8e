"""The API key that a command sends to a server: from a flag, the first key of a file, or a variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from slipway.api_keys import AUTHORIZATION, KEY_HEADERS, key_digest, read_key_file
from slipway.cli.parser import CommandParser
from slipway.errors import invalid

KEY_HELP: Final = "API key of the server; the list of processes shows it, unlike --api-key-file and SLIPWAY_API_KEY"
KEY_FILE_HELP: Final = (
    "file whose first line is the API key of the server (default: the variables SLIPWAY_API_KEY, SLIPWAY_API_KEY_FILE)"
)
_KEY: Final = "SLIPWAY_API_KEY"
_FILE: Final = "SLIPWAY_API_KEY_FILE"


def add_api_key(parser: CommandParser) -> None:
    """Add --api-key and --api-key-file."""
    parser.add_argument("--api-key", metavar="KEY", help=KEY_HELP)
    parser.add_argument("--api-key-file", metavar="FILE", type=Path, help=KEY_FILE_HELP)


def key_headers(
    key: str | None,
    file: Path | None,
    headers: Iterable[tuple[str, str]],
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return `headers` with the one that carries the key, if there is a key and they do not carry one themselves. A
    flag takes precedence over the variables. Raise INVALID_ARG, without the key, if it cannot be one."""
    given = dict(headers)
    if key is not None and file is not None:
        raise invalid("--api-key and --api-key-file are mutually exclusive")
    if not KEY_HEADERS.isdisjoint(name.lower() for name in given):
        return given
    found = _key(key, file, environment)
    return given if found is None else {**given, AUTHORIZATION: f"Bearer {found}"}


def requested_key(options: argparse.Namespace) -> dict[str, str]:
    """Return the headers of a command with `add_header` and `add_api_key`."""
    return key_headers(options.api_key, options.api_key_file, options.header)


def _key(key: str | None, file: Path | None, environment: Mapping[str, str]) -> str | None:
    if key is not None:
        return _checked(key, "--api-key")
    if file is not None:
        return _first(file, "--api-key-file")
    if _KEY in environment:  # a server may have several there, one per line
        return _checked(next(iter(environment[_KEY].split()), ""), _KEY)
    return _first(Path(environment[_FILE]), _FILE) if environment.get(_FILE) else None


def _checked(key: str, source: str) -> str:
    try:
        key_digest(key)
    except ValueError as error:
        raise invalid(f"{source}: {error}") from None
    return key


def _first(file: Path, source: str) -> str:
    try:
        return read_key_file(file)[0]
    except ValueError as error:
        raise invalid(f"{source}: {error}") from None
