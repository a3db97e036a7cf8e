"""Bound what a RepositoryModelLoad message makes the protobuf library do: only the contents of files may be large.

The library parses a message in one call, during which nobody else is served. Copying the contents of files is fast;
objects for a million parameters are not.
Source: https://protobuf.dev/programming-guides/encoding/; field numbers from grpc_service.proto.
"""

from __future__ import annotations

from typing import Final

from slipway.core.large_work import LARGE
from slipway.errors import invalid
from slipway.wire.protobuf_split import fields

# The way to the contents of a file: RepositoryModelLoadRequest.parameters, value of the entry, bytes_param.
_CONTENTS: Final = ((3 << 3) | 2, (2 << 3) | 2, (4 << 3) | 2)
_FIELD_COST: Final = 16  # bytes that a field counts more than it has, so that there are not many tiny ones


def refuse_large_load(payload: bytes) -> None:
    """Raise INVALID_ARG if a load request without the contents of its files is large, or if it is malformed."""
    try:
        _cost(payload, 0, len(payload), _CONTENTS, LARGE)
    except (ValueError, IndexError, KeyError):
        raise invalid(
            f"a load request is malformed, or has more than {LARGE} bytes or too many parameters beside the contents "
            "of its files"
        ) from None


def _cost(payload: bytes, start: int, end: int, path: tuple[int, ...], limit: int) -> int:
    """Return the size of a message without the fields that `path` leads to; raise ValueError above `limit`."""
    cost = 0
    for tag, begin, value, stop in fields(payload, start, end):
        cost += _FIELD_COST
        if tag != path[0]:
            cost += stop - begin
        elif len(path) > 1:
            cost += _cost(payload, value, stop, path[1:], limit - cost)
        if cost > limit:
            raise ValueError
    return cost
