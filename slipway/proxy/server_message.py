"""Reads the protobuf messages of the server behind the proxy."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from slipway.proxy.failures import UpstreamFailure

Kind = TypeVar("Kind", bound=Message)


def read_message(kind: type[Kind], data: bytes) -> Kind:
    """Return the message in `data`; raise `UpstreamFailure` (INTERNAL) if it is not one."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise UpstreamFailure("INTERNAL", f"the server sent a {kind.DESCRIPTOR.name} that cannot be read") from None
