"""Bytes in JSON: `{"b64": "..."}`, as TensorFlow Serving's REST API writes them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

ENCODED: Final = "b64"


def encoded(content: bytes) -> dict[str, str]:
    """Return the JSON value for bytes."""
    return {ENCODED: b64encode(content).decode("ascii")}


def decoded(value: object) -> bytes | None:
    """Return the bytes that a JSON value stands for, None if it is something else."""
    if not isinstance(value, dict) or value.keys() != {ENCODED} or not isinstance(value[ENCODED], str):
        return None
    try:
        return b64decode(value[ENCODED], validate=True)
    except ValueError:  # not ASCII, a wrong character, wrong padding
        return None
