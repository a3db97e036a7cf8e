"""A complete trace as the message to the exporting process, which writes it to a file or makes spans of it. Pure.

Writing one down as JSON takes Python 4 us, and making its spans the SDK 100 us: as long as a small model takes for its
request, or longer. So the server only encodes the trace, in 1 us, and another process does the rest.
"""

from __future__ import annotations

from time import monotonic_ns, time_ns

import msgspec

from slipway.config.trace_settings import TIMESTAMPS
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


_ENCODER = msgspec.msgpack.Encoder()
SIZE_BYTES = 4  # before each message: its size, little-endian


def write_message(root: TraceRoot) -> bytes:
    """Return the message of a complete trace. Tuples in the order of a record's fields are encoded like the record, and
    made in a third of the time."""
    setting = root.setting
    record = (
        tuple([_request(request) for request in root.requests]),
        setting.number,
        setting.log_frequency,
        setting.count >= 0,
        TIMESTAMPS in setting.levels,
        setting.count == 0 and setting.completed == setting.began,
        None if root.context is None else _context(root.context),
    )
    try:
        message = _ENCODER.encode(record)
    except UnicodeEncodeError:  # an id or error of a model's making, with half a character
        for request in root.requests:
            request.request_id = _encodable(request.request_id)
            request.error = _encodable(request.error)
        return write_message(root)
    return len(message).to_bytes(SIZE_BYTES, "little") + message


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
