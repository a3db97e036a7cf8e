"""What the proxy uses of a request's headers: its size and form, its id, its trace, its key. Pure.

Only values that gRPC can carry get through; what identifies a request is replaced if it is not fit to.
Source: W3C Trace Context, level 2 (traceparent, tracestate).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

Metadata = tuple[tuple[str, str], ...]

_CREDENTIALS: Final = (b"authorization", b"x-api-key")
_WANTED: Final = frozenset(
    (
        *_CREDENTIALS,
        b"content-encoding",
        b"content-length",
        b"traceparent",
        b"tracestate",
        b"x-request-id",
    )
)
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_IDS: Final = rb"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_PARENT: Final = re.compile(rb"00-" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}-" + _IDS + rb"(?:-[\x21-\x7e]{0,256})?")
_STATE: Final = re.compile(rb"[\x20-\x7e\t]{1,512}")
_CREDENTIAL: Final = re.compile(rb"[\x21-\x7e]+( [\x21-\x7e]+)?")


@dataclass(slots=True)
class ProxiedHead:
    """The headers that matter; `length` is -1 if the size of the body is not announced."""

    length: int
    encoding: bytes
    request_id: str
    metadata: Metadata


def read_head(headers: Iterable[tuple[bytes, bytes]], own: Metadata, *, forwards_authorization: bool) -> ProxiedHead:
    """Return the head of a request with these lower-case headers. Its call shows the client's credentials if they are
    forwarded, otherwise the proxy's, which are `own`."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED:
            found[name] = found[name] + b"," + value if name == b"tracestate" and name in found else value
    given = found.get(b"x-request-id")
    known = given is not None and _REQUEST_ID.fullmatch(given) is not None
    metadata = _credentials(found) if forwards_authorization else own
    if b"traceparent" in found:
        metadata = (*metadata, *_trace(found))
    size = found.get(b"content-length", b"")
    return ProxiedHead(
        length=int(size[:19]) if size.isdigit() else -1,
        encoding=found.get(b"content-encoding", b"").strip().lower(),
        request_id=given.decode("ascii") if known and given is not None else str(uuid4()),
        metadata=metadata,
    )


def _trace(found: dict[bytes, bytes]) -> Metadata:
    parent, state = found[b"traceparent"], found.get(b"tracestate", b"")
    if _PARENT.fullmatch(parent) is None:
        return ()
    pairs: Metadata = (("traceparent", parent.decode("ascii")),)
    return (*pairs, ("tracestate", state.decode("ascii"))) if _STATE.fullmatch(state) else pairs


def _credentials(found: dict[bytes, bytes]) -> Metadata:
    """Return the client's credentials; those that gRPC cannot carry count as none."""
    return tuple(
        (name.decode("ascii"), found[name].decode("ascii"))
        for name in _CREDENTIALS
        if name in found and _CREDENTIAL.fullmatch(found[name]) is not None
    )
