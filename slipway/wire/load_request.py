"""The parameters of a request to load a model, as JSON: its configuration and its files in base64.

A small document is parsed as any other. A large one is long strings in a typed frame: it is read without an object for
anything else, and its strings are decoded in pieces, so that other threads run in between.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from slipway.errors import internal, invalid, shown
from slipway.wire.duplicate_keys import count_colons, refuse_duplicate_keys
from slipway.wire.json_escapes import part_of
from slipway.wire.json_strings import starts_with
from slipway.wire.json_text import (
    MAX_UNTYPED_BYTES,
    NON_OBJECT_MEMBERS,
    NON_STRING,
    NOT_JSON,
    malformed,
    parse_object,
    refuse_lone_surrogates,
    too_deep,
)

_FILE: Final = "file:"
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING: Final = msgspec.json.Decoder(str)
_PIECE: Final = 256 << 10  # bytes decoded at a time
_MAX_QUOTES: Final = 1 << 16  # of a large document; a file takes four


def read_load(body: bytes | bytearray) -> tuple[str | None, dict[str, bytes]]:
    """Return the configuration (JSON) and the files by relative path; raise `SlipwayError` with Triton's texts."""
    config, files = None, {}
    for key, value in read_parameters(body).items():
        if key == "config":
            config = "".join(_pieces(value))
        elif key.startswith(_FILE):
            files[key.removeprefix(_FILE)] = _base64(key, value)
        else:
            next(_pieces(value), None)
            raise internal("unexpected error on creating Triton parameter")
    return config, files


def read_parameters(body: bytes | bytearray) -> dict[str, Any]:
    """Return the member `parameters`: values, or their text if the document is large."""
    if len(body) > MAX_UNTYPED_BYTES:
        return _large_parameters(body)
    parameters = parse_object(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise internal(NON_OBJECT_MEMBERS)
    return parameters


def _large_parameters(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    pieces = (body[start : start + _PIECE] for start in range(0, len(body), _PIECE))
    if sum(piece.count(b'"') - piece.count(b'\\"') for piece in pieces) > _MAX_QUOTES:
        raise malformed(f"a document larger than {MAX_UNTYPED_BYTES} bytes has too many members")
    refuse_lone_surrogates(body)
    members = _members(body)
    parameters = _members(members["parameters"]) if "parameters" in members else {}
    expected = (
        _colons(members) + _colons(parameters) + sum(count_colons(memoryview(text)) for text in parameters.values())
    )
    if count_colons(body) != expected:  # colons in other members, or keys given twice
        refuse_duplicate_keys(body)
    return parameters


def _colons(members: dict[str, msgspec.Raw]) -> int:
    """Return the number of colons behind and in the keys of an object."""
    return len(members) + sum(key.count(":") for key in members)


def _members(text: bytes | bytearray | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _MEMBERS.decode(text)
    except RecursionError:
        raise too_deep() from None
    except msgspec.ValidationError:
        raise internal(NON_OBJECT_MEMBERS) from None
    except NOT_JSON as error:
        raise malformed(str(error)) from None


def _pieces(value: object) -> Iterator[str]:
    """Yield a string in pieces; raise INTERNAL if it is anything else."""
    if isinstance(value, str):
        yield from (value[start : start + _PIECE] for start in range(0, len(value), _PIECE))
        return
    text = memoryview(value) if isinstance(value, msgspec.Raw) else memoryview(b"")
    if not starts_with(text, b'"'):
        raise internal(NON_STRING)
    start, end = 1, len(text) - 1
    while start < end:
        part = part_of(text, start, end, _PIECE)
        start += len(part)
        try:
            yield _STRING.decode(b'"%b"' % part)
        except NOT_JSON as error:
            raise malformed(str(error)) from None


def _base64(key: str, value: object) -> bytes:
    decoded = []
    rest = b""  # up to four characters, so that what comes last contains the padding
    try:
        for piece in _pieces(value):
            text = rest + piece.encode("ascii")
            cut = (len(text) - 1) // 4 * 4
            if text.find(b"=", 0, cut) >= 0:
                raise _not_base64(key)
            decoded.append(binascii.a2b_base64(text[:cut], strict_mode=True))
            rest = text[cut:]
        decoded.append(binascii.a2b_base64(rest, strict_mode=True))
    except (binascii.Error, UnicodeEncodeError):
        raise _not_base64(key) from None
    return b"".join(decoded)


def _not_base64(key: str) -> Exception:
    return invalid(f"failed to decode the base64 content of parameter '{shown(key)}'")
