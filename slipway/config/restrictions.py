"""Which groups of APIs need a header with a secret: the values of --http-restricted-api and --grpc-restricted-protocol.

The groups, the form `GROUPS:HEADER=VALUE` and its errors are tritonserver's. Two further forms keep the secret out of
the command line: `GROUPS:HEADER@file:PATH` and `GROUPS:HEADER@env:NAME`. They cannot be meant for tritonserver: the
name of a header does not contain "@". Only a digest of the secret is kept, so nothing can print it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

from slipway.config.flags import HIDDEN, Kind
from slipway.nearest import nearest_or_all

# In the order of Triton's documentation.
GROUPS: Final = (
    "health", "metadata", "inference", "shared-memory", "model-config", "model-repository", "statistics", "trace",
    "logging",
)  # fmt: skip
EXPLAINING_GROUPS: Final = ("model-config", "statistics")  # what an explained request shows too
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header (RFC 9110, 5.6.2)
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]+")
_MAX_SECRET: Final = 16 << 10  # bytes of a file; the head of a request has 64 KiB


@dataclass(frozen=True, slots=True)
class Restriction:
    """The header that requests need for some groups of APIs; `digest` is the SHA-256 of its value."""

    groups: tuple[str, ...]
    header: str
    digest: bytes = field(repr=False)

    def admits(self, value: bytes | None) -> bool:
        """Return whether a header with this value (None: no such header) opens the APIs. The time that this takes does
        not depend on how much of the value is right."""
        return value is not None and compare_digest(sha256(value).digest(), self.digest)


def restriction_kind(flag: str, word: str) -> Kind:
    """Return the kind of `flag`, whose groups are called `word`s."""

    def read(text: str) -> Restriction:
        groups, _, rest = text.partition(":")
        header, source = split_header(rest)
        if not (groups and header and source):
            shown = text.partition("=")[0].partition("@")[0]  # the rest may be secret
            raise ValueError(
                f"--{flag} option format is '<config name>:<setting>=<value>', with '@file:<path>' or "
                f"'@env:<variable>' in place of '=<value>' if the command line should not hold it. Got {shown}..."
            )
        names = tuple(groups.split(","))
        for group in names:
            if group not in GROUPS:
                raise ValueError(f"unknown restricted {word} '{group}'{nearest_or_all(group, GROUPS)}")
        return Restriction(names, header, sha256(header_value(source).encode(errors="surrogateescape")).digest())

    return Kind("GROUP[,GROUP...]:HEADER=VALUE", read, _without_value)


def _without_value(text: str) -> str:
    """Return a restriction without the value that is in it, if it is in it."""
    groups, _, rest = text.partition(":")
    header, source = split_header(rest)
    return f"{groups}:{header}={HIDDEN}" if source.startswith("=") else text


def split_header(text: str) -> tuple[str, str]:
    """Return the name in HEADER=VALUE, HEADER@file:PATH or HEADER@env:NAME and the rest, which `header_value` reads;
    two empty texts if it is none of them."""
    name = _NAME.match(text)
    source = text[name.end() :] if name else ""
    return (name[0], source) if name and source[:1] in ("=", "@") and len(source) > 1 else ("", "")


def header_value(source: str) -> str:
    """Return the value after "=", or the one that "@file:PATH" or "@env:NAME" names; raise `ValueError`, which does
    not contain it."""
    if source.startswith("="):
        value, where = source[1:], "the value"
    elif source.startswith("@file:"):
        value, where = _file_text(source[6:]), f"the value in '{source[6:]}'"
    elif source.startswith("@env:"):
        found = os.environ.get(source[5:])
        if found is None:
            raise ValueError(f"the environment does not have a variable '{source[5:]}'")
        value, where = found, f"the value of the variable '{source[5:]}'"
    else:
        raise ValueError("expected file:PATH or env:NAME after '@'")
    value = value.strip(" \t\r\n")  # no header's value begins or ends with them
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{where} is {'not one line of text' if value else 'empty'}")
    return value


def _read_header(text: str) -> tuple[str, str]:
    name, source = split_header(text)
    if not name:
        raise ValueError("expected NAME=VALUE, NAME@file:PATH or NAME@env:VARIABLE")
    return name, header_value(source)


HEADER: Final = Kind("NAME=VALUE", _read_header)  # of a client: a pair
HEADER_HELP: Final = (
    "header to send, such as the key of a restricted API; NAME@file:PATH and NAME@env:VARIABLE take the value from a "
    "file or a variable"
)


def _file_text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise ValueError(f"'{path}' cannot be read: {error.strerror}") from None
    if len(data) > _MAX_SECRET:
        raise ValueError(f"'{path}' is larger than {_MAX_SECRET} bytes")
    return data.decode(errors="surrogateescape")


def restriction_problems(restrictions: Iterable[Restriction], word: str) -> Iterator[str]:
    """Yield the groups that are restricted twice, with Triton's text."""
    seen: set[str] = set()
    for restriction in restrictions:
        for group in restriction.groups:
            if group in seen:
                yield f"restricted {word} '{group}' can not be specified in multiple config groups"
            seen.add(group)


def by_group(restrictions: Iterable[Restriction], prefix: str = "") -> dict[str, Restriction]:
    """Return the restriction of each restricted group; `prefix` goes before the name of each header."""
    return {
        group: Restriction(each.groups, prefix + each.header, each.digest)
        for each in restrictions
        for group in each.groups
    }


def refusal_text(restriction: Restriction, what: str) -> str:
    """Return Triton's text for a request without the header; `what` is "API" or "protocol"."""
    return f"This {what} is restricted, expecting header '{restriction.header}'"


Restrictions = Mapping[str, Restriction]  # by group
