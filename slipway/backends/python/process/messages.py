"""The messages between the server and a child process that runs a Python model: small typed structs, never pickle.

A message with tensors names them in order; their bytes follow in the frame's blob. A call that wants an answer carries
a number that the caller chose. A message that does not have this form is a `LinkError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from slipway.backends.python.process.frames import LinkError
from slipway.core.request import InferRequest, InferResponse, Parameter
from slipway.core.tensor import Raw, Tensor
from slipway.core.trace import ReferredTrace, TraceReference
from slipway.errors import Code, FailureReason, SlipwayError


class TensorHead(msgspec.Struct, array_like=True, gc=False):
    """A tensor whose `size` bytes are the next ones of the blob."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int


class RequestHead(msgspec.Struct, array_like=True, gc=False):
    """An `InferRequest`; model name and version are set only in BLS requests. After each of several responses to a
    `paced` one, the child waits for `Continue`."""

    inputs: tuple[TensorHead, ...]
    outputs: tuple[str, ...] = ()
    id: str = ""
    parameters: dict[str, Parameter] | None = None
    correlation_id: int | str = 0
    flags: int = 0
    timeout_us: int = 0
    model_name: str = ""
    model_version: str = ""
    trace: TraceReference | None = None
    paced: bool = False


class ErrorHead(msgspec.Struct, array_like=True, gc=False):
    """A `SlipwayError`, with the names of its code and reason."""

    code: str
    message: str
    reason: str


class AnswerHead(msgspec.Struct, array_like=True, gc=False):
    """An `InferResponse`."""

    outputs: tuple[TensorHead, ...] = ()
    final: bool = True
    empty: bool = False
    parameters: dict[str, Parameter] | None = None
    error: ErrorHead | None = None


RESCHEDULED_HEAD: Final = AnswerHead(final=False, empty=True)  # in place of an answer


# From the server to the child


class Start(msgspec.Struct, array_like=True, tag="start"):
    """Load the model in `model_file` and initialize it with `arguments`; `outputs` are the model's output names."""

    model_name: str
    instance_name: str
    model_file: str
    model_directory: str
    version_directory: str
    arguments: dict[str, str]
    outputs: tuple[str, ...]
    decoupled: bool
    log_level: int
    iterative: bool = False


class Execute(msgspec.Struct, array_like=True, tag="x", gc=False):
    """Execute a batch; the server numbers batches."""

    serial: int
    requests: tuple[RequestHead, ...]


class Cancel(msgspec.Struct, array_like=True, tag="cancel"):
    """The client of a request no longer wants its answer."""

    serial: int
    index: int


class Continue(msgspec.Struct, array_like=True, tag="continue"):
    """The next response to a paced request may come."""

    serial: int
    index: int


class Answer(msgspec.Struct, array_like=True, tag="answer"):
    """One answer to a BLS request."""

    call: int
    answer: AnswerHead


class Returned(msgspec.Struct, array_like=True, tag="returned"):
    """The result of a call that the child made."""

    call: int
    value: float | bool | None = None
    error: ErrorHead | None = None


class CheckReady(msgspec.Struct, array_like=True, tag="check"):
    """Call the model's `is_ready`."""

    call: int


class Close(msgspec.Struct, array_like=True, tag="close"):
    """Finalize and exit."""


# From the child to the server


class Loaded(msgspec.Struct, array_like=True, tag="loaded"):
    """The model is initialized, or failed to initialize."""

    error: str | None
    has_ready_check: bool = False


class Done(msgspec.Struct, array_like=True, tag="d", gc=False):
    """A batch was executed; None: the request is answered by `Sent`. Times are monotonic nanoseconds."""

    serial: int
    answers: tuple[AnswerHead | None, ...]
    start: int
    input_end: int
    output_start: int


class Sent(msgspec.Struct, array_like=True, tag="sent"):
    """An answer through a response sender."""

    serial: int
    index: int
    answer: AnswerHead


class Submit(msgspec.Struct, array_like=True, tag="submit"):
    """Run a BLS request for a batch (0: for none); its answers arrive as `Answer`s."""

    call: int
    request: RequestHead
    decoupled: bool
    serial: int = 0


class CancelCall(msgspec.Struct, array_like=True, tag="cancelcall"):
    """The answers of a BLS request are no longer wanted."""

    call: int


class LoadModel(msgspec.Struct, array_like=True, tag="load"):
    """Load a model."""

    call: int
    name: str
    config: str | None
    files: dict[str, bytes]


class UnloadModel(msgspec.Struct, array_like=True, tag="unload"):
    """Unload a model."""

    call: int
    name: str
    dependents: bool


class IsModelReady(msgspec.Struct, array_like=True, tag="isready"):
    """Ask whether a model can serve."""

    call: int
    name: str
    version: str


class OpenFamily(msgspec.Struct, array_like=True, tag="family"):
    """Find or create a metric family."""

    call: int
    name: str
    description: str
    kind: str


class OpenSeries(msgspec.Struct, array_like=True, tag="series"):
    """Find or create a series of a family."""

    call: int
    family: str
    labels: dict[str, str]
    buckets: tuple[float, ...]


class ReleaseSeries(msgspec.Struct, array_like=True, tag="release"):
    """Release one use of a series."""

    family: str
    labels: dict[str, str]


class ChangeSeries(msgspec.Struct, array_like=True, tag="change"):
    """Change a series."""

    family: str
    labels: dict[str, str]
    verb: Literal["increment", "set", "observe"]
    value: float


class ReadSeries(msgspec.Struct, array_like=True, tag="read"):
    """Read the value of a series."""

    call: int
    family: str
    labels: dict[str, str]


class Ready(msgspec.Struct, array_like=True, tag="ready"):
    """The answer to `CheckReady`."""

    call: int
    error: ErrorHead | None


class Log(msgspec.Struct, array_like=True, tag="log"):
    """A line for the server's log."""

    level: int
    message: str
    file: str
    line: int


ToChild = Start | Execute | Cancel | Continue | Answer | Returned | CheckReady | Close
FromChild = (
    Loaded
    | Done
    | Sent
    | Submit
    | CancelCall
    | LoadModel
    | UnloadModel
    | IsModelReady
    | OpenFamily
    | OpenSeries
    | ReleaseSeries
    | ChangeSeries
    | ReadSeries
    | Ready
    | Log
)

ShapeOf = Callable[[Tensor], tuple[int, ...]]

encode: Final = msgspec.msgpack.Encoder().encode
decode_to_child: Final = msgspec.msgpack.Decoder(ToChild).decode
_decode_from_child: Final = msgspec.msgpack.Decoder(FromChild).decode


def decode_from_child(message: memoryview) -> FromChild:
    """Return a message of the child; raise `LinkError`."""
    try:
        decoded: FromChild = _decode_from_child(message)
    except msgspec.DecodeError as error:
        raise LinkError(str(error)) from None
    return decoded


def tensor_heads(
    tensors: Iterable[Tensor], blobs: list[Raw], shape_of: ShapeOf | None = None
) -> tuple[TensorHead, ...]:
    """Return the heads of `tensors`, with the shapes of `shape_of`; their bytes are appended to `blobs`."""
    heads = []
    for tensor in tensors:
        blobs.append(raw := tensor.raw)
        shape = tensor.shape if shape_of is None else shape_of(tensor)
        heads.append(TensorHead(tensor.name, tensor.datatype, shape, len(raw)))
    return tuple(heads)


def request_head(request: InferRequest, blobs: list[Raw], shape_of: ShapeOf | None = None) -> RequestHead:
    """Return the message form of a request; `shape_of` returns the shape in which the model sees a tensor."""
    return RequestHead(
        _input_heads(request, blobs, shape_of),
        request.outputs,
        request.id,
        request.parameters or None,
        request.correlation_id,
        request.flags,
        request.timeout_us,
        trace=None if request.trace is None else request.trace.reference(),
        paced=request.pace is not None,
    )


def _input_heads(request: InferRequest, blobs: list[Raw], shape_of: ShapeOf | None) -> tuple[TensorHead, ...]:
    inputs, form = request.inputs.values(), request.form
    encoded_for, heads = (None, ()) if form is None else form.encoded
    if heads and encoded_for == shape_of:
        blobs += [tensor.raw for tensor in inputs]
        return heads
    heads = tensor_heads(inputs, blobs, shape_of)
    if form is not None:
        form.encoded = shape_of, heads
    return heads


def answer_head(response: InferResponse, blobs: list[Raw]) -> AnswerHead:
    """Return the message form of an answer; one that is too large becomes an error before it is copied."""
    response.limit()
    return AnswerHead(
        tensor_heads(response.outputs, blobs),
        response.final,
        response.empty,
        response.parameters or None,
        None if response.error is None else error_head(response.error),
    )


def error_head(error: SlipwayError) -> ErrorHead:
    """Return the message form of an error."""
    return ErrorHead(error.code.name, error.message, error.reason.name)


def to_error(head: ErrorHead) -> SlipwayError:
    """Return the error from its message form; raise `LinkError`."""
    try:
        return SlipwayError(Code[head.code], head.message, reason=FailureReason[head.reason])
    except KeyError as error:
        raise LinkError(f"it contains the error code {error}") from None


class BlobReader:
    """Reads a frame's tensors in order."""

    __slots__ = ("_blob", "_offset")

    def __init__(self, blob: memoryview) -> None:
        self._blob = blob
        self._offset = 0

    def bytes_of(self, head: TensorHead) -> memoryview:
        """Return the bytes of the next tensor, as a view of the frame; raise `LinkError` if they are not in it."""
        start, self._offset = self._offset, self._offset + head.size
        if not start <= self._offset <= len(self._blob):
            raise LinkError(f"tensor '{head.name}' has {head.size} bytes, of which only a part was sent")
        return self._blob[start : self._offset]

    def tensors(self, heads: Iterable[TensorHead]) -> list[Tensor]:
        """Return the tensors of `heads`, as views of the frame; raise `LinkError` if they are not in it."""
        return [Tensor(head.name, head.datatype, head.shape, raw=self.bytes_of(head)) for head in heads]

    def answer(self, head: AnswerHead) -> InferResponse:
        """Return an answer."""
        return InferResponse(
            outputs=self.tensors(head.outputs),
            parameters=head.parameters or {},
            error=None if head.error is None else to_error(head.error),
            final=head.final,
            empty=head.empty,
        )

    def request(self, head: RequestHead) -> InferRequest:
        """Return a request."""
        return InferRequest(
            model_name=head.model_name,
            model_version=head.model_version,
            id=head.id,
            inputs={tensor.name: tensor for tensor in self.tensors(head.inputs)},
            outputs=head.outputs,
            parameters=head.parameters or {},
            correlation_id=head.correlation_id,
            flags=head.flags,
            timeout_us=head.timeout_us,
            trace=None if head.trace is None else ReferredTrace(head.trace),
        )
