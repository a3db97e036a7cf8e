"""A complete trace on its way to the exporting process, which writes it to a file or makes spans of it. Pure.

Writing one down as JSON takes Python 2 us, and making its spans the SDK 100 us: as long as a small model takes for its
request, or longer. So the event loop only encodes what it recorded, in 0.5 us; to keep the objects for the writing
thread would take it longer, because new ones would always be in memory that is not in the processor's cache. The
writing thread puts many traces in one message, and another process does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic_ns, time_ns
from typing import Final

import msgspec

from slipway.core.tensor import Tensor
from slipway.tracing.trace import RequestTrace, TraceContext, TraceRoot


class TensorRecord(msgspec.Struct, array_like=True, gc=False):
    """A tensor: its `activity` is Triton's name for its side of the model."""

    activity: str
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


class RequestRecord(msgspec.Struct, array_like=True, gc=False):
    """A request of the trace; see `RequestTrace`. `span` is an id in hexadecimal digits, "" without a context."""

    number: int
    parent: int
    span: str
    model: str
    version: int
    request_id: str
    error: str
    is_decoupled: bool
    responses: int
    moments: list[int]
    tensors: list[TensorRecord]


class ContextRecord(msgspec.Struct, array_like=True, gc=False):
    """The ids of the trace, of the front's span and of the client's ("": none), in hexadecimal digits; its state; and
    what makes Unix times of the times of the trace, in nanoseconds."""

    trace: str
    span: str
    remote: str
    state: str
    offset: int


class TraceRecord(msgspec.Struct, array_like=True, gc=False):
    """A trace, its first request first.

    `frequency` of the traces of a setting go to each numbered file; 0 is no limit. With `is_counted`, their number is
    limited, and the last one `is_last`. Each setting has another number.
    """

    requests: list[RequestRecord]
    setting: int
    frequency: int = 0
    is_counted: bool = False
    with_times: bool = True
    is_last: bool = False
    context: ContextRecord | None = None

    @property
    def is_numbered(self) -> bool:
        """Whether the trace goes to a numbered file."""
        return self.frequency > 0 or self.is_counted


SIZE_BYTES: Final = 4  # before each message: its size, little-endian
_ARRAY: Final = b"\xdd"  # of messagepack: the number of elements follows in 4 bytes, then they do
_BATCH_BYTES: Final = 1 << 20  # of a message, unless one trace has more
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_trace(root: TraceRoot) -> bytes:
    """Return a complete trace as one element of a message. Tuples in the order of a record's fields are encoded like
    the record, and made in a third of the time."""
    setting = root.setting
    context = root.context
    requests = root.requests
    record = (
        (_request(requests[0]),) if len(requests) == 1 else [_request(request) for request in requests],
        setting.number,
        setting.log_frequency,
        setting.count >= 0,
        setting.with_times,
        setting.count == 0 and setting.completed == setting.began,
        None if context is None else _context(context),
    )
    try:
        return _ENCODER.encode(record)
    except UnicodeEncodeError:  # an id or error of a model's making, with half a character
        for request in requests:
            request.request_id = _encodable(request.request_id)
            request.error = _encodable(request.error)
        return encode_trace(root)


def pack_messages(traces: Sequence[bytes]) -> Iterator[bytes]:
    """Yield messages with all of the traces, in order."""
    start = size = 0
    for index, trace in enumerate(traces):
        size += len(trace)
        if size > _BATCH_BYTES or index + 1 == len(traces):
            yield _message(traces[start : index + 1], size)
            start, size = index + 1, 0


def _message(traces: Sequence[bytes], size: int) -> bytes:
    count = len(traces).to_bytes(4, "big")
    whole = len(_ARRAY) + len(count) + size
    return b"".join((whole.to_bytes(SIZE_BYTES, "little"), _ARRAY, count, *traces))


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _request(request: RequestTrace) -> tuple[object, ...]:
    return (
        request.number,
        request.parent,
        f"{request.span_id:016x}" if request.span_id else "",
        request.model,
        request.version,
        request.request_id,
        request.error,
        request.is_decoupled,
        request.responses,
        request.moments,
        [_tensor(*kept) for kept in request.tensors] if request.tensors else (),
    )


def _tensor(activity: str, tensor: Tensor) -> TensorRecord:
    return TensorRecord(activity, tensor.name, tensor.datatype, tensor.shape, bytes(tensor.raw))


def _context(context: TraceContext) -> ContextRecord:
    remote = f"{context.remote_span_id:016x}" if context.remote_span_id else ""
    offset = time_ns() - monotonic_ns()
    return ContextRecord(f"{context.trace_id:032x}", f"{context.span_id:016x}", remote, context.state, offset)
