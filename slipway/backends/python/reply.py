"""How a model answers a request: once by the value that `execute` returns, or through response senders.

The rules of sending and their texts are Triton's (response_sender.cc). A request that a model drops without a final
answer is answered with an error; Triton would leave the client waiting for ever.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.signatures import UINT32, Native, Signature, StubParameter, an, optional

RESPONSE_COMPLETE_FINAL: Final = 1


class Sink(Protocol):
    """Where the answers to one request go. Every method may be called from any thread."""

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """Pass one answer on; None closes a decoupled request without another answer."""

    def is_cancelled(self) -> bool:
        """Return whether the client no longer wants the answer."""

    def abandon(self) -> None:
        """Answer with an error: the model dropped the request."""


class ReplyState:
    """The answering state of one request, shared by the request and its response senders."""

    __slots__ = ("_sink", "closed", "decoupled", "sent")

    def __init__(self, sink: Sink, decoupled: bool) -> None:
        self._sink = sink
        self.decoupled = decoupled
        self.closed = False
        self.sent = 0

    @property
    def complete(self) -> bool:
        """Whether the client has its final answer."""
        return self.closed or (self.sent > 0 and not self.decoupled)

    def is_cancelled(self) -> bool:
        """Return whether the client no longer wants the answer."""
        return self._sink.is_cancelled()

    def send(self, response: InferenceResponse | None, flags: int) -> None:
        """Pass one answer on; raise `TritonModelException` where Triton's sender does."""
        if flags not in (0, RESPONSE_COMPLETE_FINAL):
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if response is None and flags == 0:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        if not self.decoupled:
            if response is not None and self.sent:
                raise TritonModelException(
                    "Unable to send response. Non-decoupled model cannot send more than one response."
                )
            if response is None and not self.sent:
                raise TritonModelException(
                    "Unable to send response. Non-decoupled model cannot send complete final before sending a response."
                )
        if self.closed:
            raise TritonModelException("Unable to send response. Response sender has been closed.")
        self._pass_on(response, flags == RESPONSE_COMPLETE_FINAL)

    def _pass_on(self, response: InferenceResponse | None, final: bool) -> None:
        already_answered = self.sent > 0
        if final:
            self.closed = True
        if response is not None:
            self.sent += 1
        if self.decoupled:
            self._sink.send(response, final)
        elif not already_answered:
            self._sink.send(response, final=True)  # the only answer is the last one, flagged or not

    def __del__(self) -> None:
        if not self.complete:
            self._sink.abandon()


_SEND: Final = Signature(
    "send",
    "(self: c_python_backend_utils.InferenceResponseSender, response: c_python_backend_utils.InferenceResponse = None, "
    "flags: int = 0) -> None",
    StubParameter("response", optional(an(InferenceResponse)), None),
    StubParameter("flags", UINT32, 0),
)


class InferenceResponseSender(Native):
    """`pb_utils.InferenceResponseSender`: answers one request, at any time and from any thread."""

    __slots__ = ("_reply",)
    native_name = "InferenceResponseSender"

    def __init__(self, reply: ReplyState) -> None:
        self._reply = reply

    def send(self, *given: Any, **named: Any) -> None:
        """Send an answer; `flags=TRITONSERVER_RESPONSE_COMPLETE_FINAL` closes the request."""
        response, flags = _SEND.bind((self,), given, named)
        self._reply.send(response, flags)

    def is_cancelled(self) -> bool:
        """Return whether the client no longer wants the answer."""
        return self._reply.is_cancelled()
