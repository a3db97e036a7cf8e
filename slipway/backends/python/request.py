"""`pb_utils.InferenceRequest`: a request that a model receives, or sends to another model (BLS)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from json import dumps
from typing import ClassVar, Protocol, Self

from slipway.backends.python import bls
from slipway.backends.python.constants import InferenceTrace, PreferredMemory
from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.reply import InferenceResponseSender, ReplyState
from slipway.backends.python.response import InferenceResponse, checked_parameters
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.tensor import ModelTensor
from slipway.core.request import InferRequest, Parameter
from slipway.core.trace import ReferredTrace, Trace, TraceReference


class Received(Protocol):
    """What the server passes to a model about a request besides its tensors (`InferRequest`, or a child's message)."""

    id: str
    correlation_id: int | str
    flags: int
    timeout_us: int
    parameters: dict[str, Parameter]
    trace: Trace | None


class InferenceRequest:
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
    scope: ClassVar[ModelScope | None] = None

    def __init__(  # noqa: PLR0913, PLR0917  Triton's constructor
        self,
        request_id: str = "",
        correlation_id: int | str = 0,
        inputs: Sequence[ModelTensor] = (),
        requested_output_names: Sequence[str] | None = None,
        model_name: str = "",
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,  # noqa: ARG002  outputs are always in main memory here
        trace: InferenceTrace | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        if not isinstance(requested_output_names, list | tuple | set | frozenset):
            raise TypeError("InferenceRequest needs requested_output_names, a list of str")
        if timeout < 0:
            raise TypeError(f"InferenceRequest needs a timeout of 0 or more microseconds, got {timeout}")
        if isinstance(correlation_id, bool) or not isinstance(correlation_id, int | str):
            raise TritonModelException("Correlation ID must be integer or string")
        for tensor in inputs:
            if not isinstance(tensor, ModelTensor):
                raise TritonModelException(
                    f"Input tensor for request with id '{request_id}' and model name '{model_name}' should not be "
                    "empty."
                )
        self._id = request_id
        self._correlation_id: int | str = correlation_id
        self._inputs = list(inputs)
        self._outputs: Sequence[str] = tuple(requested_output_names)
        self._model_name = model_name
        self._model_version = model_version
        self._flags = flags
        self._timeout_us = timeout
        self._trace: InferenceTrace | Trace | None = trace
        self._parameters = {} if parameters is None else checked_parameters(parameters)
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
        self._parameters = request.parameters
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

    def set_flags(self, flags: int) -> None:
        """Replace the sequence flags."""
        self._flags = flags

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
        reference = trace.reference()
        return InferenceTrace(reference.context or None, reference.number)

    def set_release_flags(self, flags: int) -> None:
        """Set what happens to the request after `execute`: TRITONSERVER_REQUEST_RELEASE_ALL or _RESCHEDULE."""
        self.release_flags = flags

    def get_response_sender(self) -> InferenceResponseSender:
        """Return a sender that answers this request, also after `execute` has returned."""
        if self.reply is None:
            raise TritonModelException("Cannot get response sender: this request was not received from a client.")
        return InferenceResponseSender(self.reply)

    def is_cancelled(self) -> bool:
        """Return whether the client no longer wants the answer."""
        return self.reply is not None and self.reply.is_cancelled()

    def exec(self, decoupled: bool = False) -> InferenceResponse | bls.ResponseIterator:
        """Run the request on another model and wait; with `decoupled`, return an iterator over its answers."""
        if decoupled:
            return bls.stream(self.scope, self._server_request())
        return bls.execute(self.scope, self._server_request())

    def async_exec(self, decoupled: bool = False) -> Awaitable[InferenceResponse | bls.ResponseIterator]:
        """Run the request on another model; the awaitable resolves to what `exec` returns."""
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


def _parent(trace: InferenceTrace | Trace | None) -> ReferredTrace | None:
    """Return the trace that a request to another model belongs to, if its maker gave it one."""
    if isinstance(trace, InferenceTrace):
        return ReferredTrace(TraceReference(trace.number)) if trace.number else None
    return None if trace is None else ReferredTrace(trace.reference())
