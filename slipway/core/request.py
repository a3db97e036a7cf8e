"""Requests and responses as values, independent of transport and scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from slipway.core.explanation import Explanation
from slipway.core.large_work import LARGE
from slipway.core.pace import Pace
from slipway.core.tensor import CountedTensor, Tensor, UnreadTensor
from slipway.core.trace import Trace
from slipway.errors import SlipwayError, invalid, shown

Parameter = str | int | float | bool

SEQUENCE_START = 1
SEQUENCE_END = 2
MAX_RESPONSE_BYTES: Final = 512 << 20  # of tensors: a response exists several times on its way, and in JSON it grows


@dataclass(slots=True, eq=False)
class RequestForm:
    """What requests have in common that differ in their ids, parameters and bytes alone: names, datatypes, shapes and
    sizes of their inputs, and the outputs that they request. It remembers what was found out about it.

    Servers in one process share forms, each in its own thread: what was found out is read and replaced as a whole, with
    whom it was found out for.
    """

    accepted: tuple[object, int] = (None, 0)  # the signature of the model that accepted it last, and the rows
    encoded: tuple[object, tuple[Any, ...]] = (None, ())  # a receiver, and the heads of the inputs in a message to it
    # Who adds inputs, and the forms with these by the flags of the request.
    extended: tuple[object, dict[int, RequestForm]] = (None, {})


@dataclass(slots=True, eq=False)
class InferRequest:
    """One inference request, decoded.

    `model_version` "" means the latest version that the version policy serves. `outputs` are the requested output
    names; empty means all. `timeout_us` and `priority` are 0 when not given. `parameters` holds only custom parameters:
    a front moves reserved keys (sequence_*, priority, timeout, ...) to their own fields. With a `pace`, whoever answers
    waits for it after each of several responses. A front that knows the `form` of the request says so; it holds for
    these inputs and outputs only.
    """

    model_name: str
    model_version: str = ""
    id: str = ""
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    parameters: dict[str, Parameter] = field(default_factory=dict)
    priority: int = 0
    timeout_us: int = 0
    correlation_id: int | str = 0
    flags: int = 0  # SEQUENCE_START | SEQUENCE_END
    trace: Trace | None = None  # if the request is traced
    pace: Pace | None = None
    explanation: Explanation | None = None  # if the client asks for one
    form: RequestForm | None = None

    def with_tensors(self, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> InferRequest:
        """Return the same request with other inputs and requested outputs."""
        if type(self) is not InferRequest:
            return replace(self, inputs=inputs, outputs=outputs, form=None)
        return InferRequest(  # a fifth of what `replace` takes
            self.model_name,
            self.model_version,
            self.id,
            inputs,
            outputs,
            self.parameters,
            self.priority,
            self.timeout_us,
            self.correlation_id,
            self.flags,
            self.trace,
            self.pace,
            self.explanation,
        )

    @property
    def log_prefix(self) -> str:
        """Triton's prefix for request errors (`InferenceRequest::LogRequest`), with the trailing space."""
        return f"[request id: {shown(self.id) or '<id_unknown>'}] "

    @property
    def has_large_strings(self) -> bool:
        """Whether checking the BYTES inputs is large work, see `count_strings`."""
        return any(map(_is_uncounted, self.inputs.values()))

    def count_strings(self) -> None:
        """Count the elements of large BYTES inputs, so that checking the request takes no time."""
        for name, tensor in self.inputs.items():
            if _is_uncounted(tensor):
                self.inputs[name] = CountedTensor.of(tensor)


def _is_uncounted(tensor: Tensor) -> bool:
    if tensor.datatype != "BYTES" or tensor.is_decoded or isinstance(tensor, (CountedTensor, UnreadTensor)):
        return False
    return len(tensor.raw) > LARGE


@dataclass(slots=True, eq=False)
class InferResponse:
    """One response. If `error` is set there are no outputs. `final` marks the last response to a request.

    An empty final response (`empty`: no outputs, no error) only closes a decoupled request. If it is from the response
    cache, `again` returns whether it may be given to an equal request once more, and counts that as a hit.
    """

    model_name: str = ""
    model_version: str = ""
    id: str = ""
    outputs: list[Tensor] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    error: SlipwayError | None = None
    final: bool = True
    empty: bool = False
    again: Callable[[], bool] | None = None

    def limit(self) -> None:
        """Replace outputs of more than `MAX_RESPONSE_BYTES` by an error, as far as a look at them tells."""
        size = 0
        for tensor in self.outputs:
            size += tensor.byte_size
        if size > MAX_RESPONSE_BYTES:
            self._refuse(size)

    def limit_exactly(self) -> None:
        """Do what `limit` does, but measure every string; for threads."""
        size = sum(tensor.measure() for tensor in self.outputs)
        if size > MAX_RESPONSE_BYTES:
            self._refuse(size)

    def _refuse(self, size: int) -> None:
        self.outputs = []
        limit = MAX_RESPONSE_BYTES
        self.error = invalid(f"the response has {size} bytes, which exceeds the limit of {limit} bytes")


# In place of a response: the model has returned the request for another execution (iterative sequences).
RESCHEDULED: Final = InferResponse(final=False, empty=True)
