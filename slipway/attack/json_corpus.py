"""The corpus of hostile JSON: shapes, data, parameters and documents of infer requests that no server should take.

Pure. Texts are given where JSON's own writer could not write them.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

_MARK: Final = "slipway-attack"
MOST_DIMS: Final = 100_000
DEEP: Final = 250_000

# Products that overflow 64 bits to something small, negative and absurd sizes, too many dimensions, none.
LYING_SHAPES: Final[tuple[list[int], ...]] = (
    [2**4, 2**60 + 2],
    [2**2, 2**60 + 2],
    [2**63, 1],
    [2**64, 1],
    [1, 2**31],
    [2, -5],
    [1, -1],
    [0],
    [1] * 10_000,
    [],
)
OVERFLOWING_SHAPES: Final[tuple[list[int], ...]] = ([2**40, 2**40], [2**62, 4])
SHAPES_OF_OTHER_THINGS: Final = (
    "[1.5, 2]",
    "[1e400, 1]",
    "[NaN]",
    "[Infinity]",
    "[true, 2]",
    '["1", 2]',
    "null",
    "{}",
    "[null]",
    "2",
)
MISUSED_PARAMETERS: Final[tuple[dict[str, Any], ...]] = (
    {"sequence_id": {}},
    {"sequence_id": -1},
    {"sequence_start": 3},
    {"timeout": -1},
    {"timeout": 2**64},
    {"priority": -(2**63)},
    {"triton_secret": 1},
    {"x": {"y": 1}},
    {"x": [1]},
    {"x": None},
)
# BYTES elements with lengths that lie, and the shapes that they are sent with.
LYING_STRINGS: Final[tuple[tuple[bytes, list[int]], ...]] = (
    (b"\xff\xff\xff\xff", [1, 1]),
    (b"\xff\xff\xff\xffabc", [1, 1]),
    (struct.pack("<I", 5) + b"abc", [1, 1]),
    (struct.pack("<I", 2**31) * 2, [1, 2]),
    (struct.pack("<I", 1) + b"a", [1, 2]),
    (struct.pack("<I", 1) + b"a" + struct.pack("<I", 0), [1, 1]),
    (b"\1\0", [1, 1]),
    (b"\1", [1, 1]),
)
LYING_HEADER_LENGTHS: Final = ("99999999999", "-1", "abc", str(10**30), "1.5", "", " ")
LONG_NUMBERS: Final = {"30": "9" * 30, "400": "9" * 400, "5001": "1" + "0" * 5000}
NUMBER_FIELDS: Final = ("priority", "timeout", "sequence_id", "binary_data_output", "id", "shape", "size")

Document = dict[str, Any]  # a good infer request; what is wrong is put into its first input


def unfit_data(count: int) -> dict[str, str]:
    """Return texts that are not the data of `count` integers, by what they are; `count` is at least 2."""
    rest = ",1" * (count - 1)
    return {
        "too few": f"[{','.join('1' * (count - 1))}]",
        "too many": f"[1{rest},1]",
        "ragged lists": f"[[1],[{','.join('1' * count)}]]",
        "strings": json.dumps([str(number) for number in range(count)]),
        "beyond a double": f"[1e400{rest}]",
        "NaN": f"[NaN{rest}]",
        "fractions": f"[1.5{rest}]",
        "an object": "{}",
        "null": "null",
        "a string": '"12"',
        "400 digits": f"[{10**400}{rest}]",
    }


def broken_documents(document: Document) -> dict[str, bytes]:
    """Return documents that are not infer requests, some of them made from a good one."""
    name = document["inputs"][0]["name"].encode()
    return {
        "a byte order mark": b'\xef\xbb\xbf{"inputs":[]}',
        "half a character": put(document, "name", b'"\\ud800"'),
        "NUL in a name": put(document, "name", b'"%b\\u0000"' % name),
        "invalid UTF-8": put(document, "name", b'"\xff"'),
        "cut": b'{"inputs":',
        "nothing": b"",
        "null": b"null",
        "a list": b"[]",
        "a string": b'"x"',
    }


def put(document: Document, member: str, text: str | bytes) -> bytes:
    """Return the request with `text` as a member of its first input."""
    first, *others = document["inputs"]
    written = json.dumps(document | {"inputs": [first | {member: _MARK}, *others]}).encode()
    return written.replace(f'"{_MARK}"'.encode(), text.encode() if isinstance(text, str) else text)


def nested(document: Document, depth: int) -> bytes:
    """Return the request with its first element nested `depth` lists deep."""
    return put(document, "data", "[" * depth + json.dumps(document["inputs"][0]["data"][0]) + "]" * depth)


def deep(depth: int = DEEP) -> bytes:
    """Return a document that is nothing but brackets."""
    return b'{"ready":' + b"[" * depth + b"]" * depth + b"}"


def many_dims(document: Document) -> bytes:
    """Return the request with 100 000 dimensions of 2^63 - 1."""
    return put(document, "shape", "[" + ",".join([str(2**63 - 1)] * MOST_DIMS) + "]")


def with_long_number(document: Document, field: str, digits: str) -> bytes:
    """Return the request with a long number in one of `NUMBER_FIELDS`."""
    if field == "shape":
        return put(document, "shape", f"[{digits}]")
    if field == "size":
        return put(document, "parameters", f'{{"binary_data_size": {digits}}}')
    added = {"id": _MARK} if field == "id" else {"parameters": {field: _MARK}}
    return json.dumps(document | added).replace(f'"{_MARK}"', digits).encode()
