"""`pb_utils.InferenceRequest`: a request that a model receives, or sends to another model (BLS)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from json import dumps
from typing import Any, ClassVar, Final, Protocol, Self

from slipway.backends.python import bls
from slipway.backends.python.constants import InferenceTrace, MemoryType, PreferredMemory
from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.reply import InferenceResponseSender, ReplyState
from slipway.backends.python.response import InferenceResponse, checked_parameters
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.signatures import (
    INT64,
    UINT32,
    UINT64,
    Native,
    Signature,
    StubParameter,
    an,
    anything,
    decoded,
    optional,
    sequence_of,
    text,
    truth,
    uncastable,
)
from slipway.backends.python.tensor import ModelTensor
from slipway.core.request import InferRequest, Parameter
from slipway.core.trace import ReferredTrace, Trace, TraceReference


class Received(Protocol):
    """What the server passes to a model about a request besides its tensors (`InferRequest`, or a child's message)."""

    id: str
    correlation_id: int | str
    flags: int
    timeout_us: int

    @property
    def parameters(self) -> dict[str, Parameter] | None:
        """The parameters by name."""

    @property
    def trace(self) -> Trace | TraceReference | None:
        """The trace, or what a model may know of it."""


_REQUEST: Final = Signature(
    "__init__",
    "c_python_backend_utils.InferenceRequest(request_id: str = '', correlation_id: object = 0, inputs: "
    "List[triton::backend::python::PbTensor], requested_output_names: List[str], model_name: str, model_version: int "
    "= -1, flags: int = 0, timeout: int = 0, preferred_memory: c_python_backend_utils.PreferredMemory = "
    "<c_python_backend_utils.PreferredMemory object>, trace: c_python_backend_utils.InferenceTrace = "
    "<c_python_backend_utils.InferenceTrace object>, parameters: object = None)",
    StubParameter("request_id", text, ""),
    StubParameter("correlation_id", lambda value: value is not None, 0),
    StubParameter("inputs", sequence_of(optional(an(ModelTensor)))),
    StubParameter("requested_output_names", sequence_of(text)),
    StubParameter("model_name", text),
    StubParameter("model_version", INT64, -1),
    StubParameter("flags", UINT32, 0),
    StubParameter("timeout", UINT64, 0),
    StubParameter("preferred_memory", an(PreferredMemory), PreferredMemory(MemoryType.TRITONSERVER_MEMORY_CPU)),
    StubParameter("trace", an(InferenceTrace), InferenceTrace()),
    StubParameter("parameters", anything, None),
)
_EXEC, _ASYNC_EXEC = (
    Signature(
        name,
        "(self: c_python_backend_utils.InferenceRequest, decoupled: bool = False) -> object",
        StubParameter("decoupled", truth, False),
    )
    for name in ("exec", "async_exec")
)
_SET_FLAGS, _SET_RELEASE_FLAGS = (
    Signature(name, "(self: c_python_backend_utils.InferenceRequest, arg0: int) -> None", StubParameter("", UINT32))
    for name in ("set_flags", "set_release_flags")
)


class InferenceRequest(Native):
    """A request. Each model has a subclass of its own, bound to its `ModelScope`."""

    __slots__ = (
        "_correlation_id",
        "_flags",
        "_id",
        "_inputs",
        "_model_name",
        "_model_version",
        "_outputs",
        "_parameters",
        "_timeout_us",
        "_trace",
        "release_flags",
        "reply",
    )
    native_name = "InferenceRequest"
    scope: ClassVar[ModelScope | None] = None

    def __init__(self, *given: Any, **named: Any) -> None:
        (
            request_id,
            correlation_id,
            inputs,
            outputs,
            model_name,
            self._model_version,
            flags,
            timeout_us,
            _,  # outputs are always in main memory here
            trace,
            parameters,
        ) = _REQUEST.bind((), given, named)
        self._flags: int = flags
        self._timeout_us: int = timeout_us
        self._id = decoded(request_id)
        self._model_name = decoded(model_name)
        self._parameters = {} if parameters is None else checked_parameters(parameters)
        self._correlation_id = _sequence(correlation_id)
        self._inputs: list[ModelTensor] = list(inputs)
        if None in inputs:
            whose = f"request with id '{self._id}' and model name '{self._model_name}'"
            raise TritonModelException(f"Input tensor for {whose} should not be empty.")
        self._outputs: Sequence[str] = tuple(map(decoded, outputs))
        self._trace: InferenceTrace | Trace | TraceReference | None = trace
        self.release_flags = 0
        self.reply: ReplyState | None = None

    @classmethod
    def received(cls, request: Received, inputs: list[ModelTensor], outputs: Sequence[str], reply: ReplyState) -> Self:
        """Return a request that the server hands to a model; `outputs` are the names of the requested outputs."""
        made = cls.__new__(cls)
        made._adopt(request, inputs, outputs, reply)  # noqa: SLF001  of its own class
        return made

    def _adopt(self, request: Received, inputs: list[ModelTensor], outputs: Sequence[str], reply: ReplyState) -> None:
        self._id = request.id
        self._correlation_id = request.correlation_id
        self._inputs = inputs
        self._outputs = outputs
        self._model_name = ""
        self._model_version = -1
        self._flags = request.flags
        self._timeout_us = request.timeout_us
        self._trace = request.trace
        self._parameters = request.parameters or {}
        self.release_flags = 0
        self.reply = reply

    def inputs(self) -> list[ModelTensor]:
        """Return the input tensors."""
        return self._inputs

    def request_id(self) -> str:
        """Return the client's id for the request, "" if it has none."""
        return self._id

    def correlation_id(self) -> int | str:
        """Return the id of the request's sequence, 0 if it belongs to none."""
        return self._correlation_id

    def flags(self) -> int:
        """Return the sequence flags."""
        return self._flags

    def set_flags(self, *given: Any, **named: Any) -> None:
        """Replace the sequence flags."""
        (self._flags,) = _SET_FLAGS.bind((self,), given, named)

    def timeout(self) -> int:
        """Return the timeout in microseconds, 0 if there is none."""
        return self._timeout_us

    def parameters(self) -> str:
        """Return the request's parameters as a JSON object."""
        return dumps(self._parameters, ensure_ascii=False, separators=None if self.reply is None else (",", ":"))

    def requested_output_names(self) -> set[str]:
        """Return the names of the outputs that the client wants."""
        return set(self._outputs)

    def trace(self) -> InferenceTrace:
        """Return the request's trace."""
        trace = self._trace
        if trace is None:
            return InferenceTrace()
        if isinstance(trace, InferenceTrace):
            return trace
        reference = trace if isinstance(trace, TraceReference) else trace.reference()
        return InferenceTrace(reference.context or None, reference.number)

    def set_release_flags(self, *given: Any, **named: Any) -> None:
        """Set what happens to the request after `execute`: TRITONSERVER_REQUEST_RELEASE_ALL or _RESCHEDULE."""
        (self.release_flags,) = _SET_RELEASE_FLAGS.bind((self,), given, named)

    def get_response_sender(self) -> InferenceResponseSender:
        """Return a sender that answers this request, also after `execute` has returned."""
        if self.reply is None:
            raise TritonModelException("Cannot get response sender: this request was not received from a client.")
        return InferenceResponseSender(self.reply)

    def is_cancelled(self) -> bool:
        """Return whether the client no longer wants the answer."""
        return self.reply is not None and self.reply.is_cancelled()

    def exec(self, *given: Any, **named: Any) -> InferenceResponse | bls.ResponseIterator:
        """Run the request on another model and wait; with `decoupled`, return an iterator over its answers."""
        (decoupled,) = _EXEC.bind((self,), given, named)
        if decoupled:
            return bls.stream(self.scope, self._server_request())
        return bls.execute(self.scope, self._server_request())

    def async_exec(self, *given: Any, **named: Any) -> Awaitable[InferenceResponse | bls.ResponseIterator]:
        """Run the request on another model; the awaitable resolves to what `exec` returns."""
        (decoupled,) = _ASYNC_EXEC.bind((self,), given, named)
        if decoupled:
            return bls.stream_async(self.scope, self._server_request())
        return bls.execute_async(self.scope, self._server_request())

    def _server_request(self) -> InferRequest:
        return InferRequest(
            model_name=self._model_name,
            model_version="" if self._model_version < 0 else str(self._model_version),
            id=self._id,
            inputs={tensor.name(): tensor.server_tensor() for tensor in self._inputs},
            outputs=tuple(self._outputs),
            parameters=self._parameters,
            timeout_us=self._timeout_us,
            correlation_id=self._correlation_id,
            flags=self._flags,
            trace=_parent(self._trace),
        )


def _parent(trace: InferenceTrace | Trace | TraceReference | None) -> ReferredTrace | None:
    """Return the trace that a request to another model belongs to, if its maker gave it one."""
    if isinstance(trace, InferenceTrace):
        return ReferredTrace(TraceReference(trace.number)) if trace.number else None
    if trace is None:
        return None
    return ReferredTrace(trace if isinstance(trace, TraceReference) else trace.reference())


def _sequence(correlation_id: Any) -> int | str:
    """Return the id of a sequence; raise as the stub does for one that it cannot send."""
    if isinstance(correlation_id, str):
        return correlation_id
    if not isinstance(correlation_id, int):
        raise TritonModelException("Correlation ID must be integer or string")
    if not UINT64(correlation_id):
        raise uncastable()
    return int(correlation_id)
