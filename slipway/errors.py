"""The one error tree of the project, with transport-neutral codes.

A `SlipwayError` says what went wrong in words that a client may see: it names models and tensors, never paths or
internals. An error about a configuration or a model's files also carries the problems themselves. The fronts map `Code`
to a status with one table each (rest/, rpc/); nothing below them knows a transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from slipway.problems import Problem

_MAX_SHOWN: Final = 256
_NO_THREAD: Final = "can't start new thread"  # Python has no type for it


class Code(Enum):
    """Triton's eight error codes (TRITONSERVER_Error_Code); the value is the word Triton prints in logs."""

    UNKNOWN = "Unknown"
    INTERNAL = "Internal"
    NOT_FOUND = "Not found"
    INVALID_ARG = "Invalid argument"
    UNAVAILABLE = "Unavailable"
    UNSUPPORTED = "Unsupported"
    ALREADY_EXISTS = "Already exists"
    CANCELLED = "Cancelled"


class FailureReason(Enum):
    """The label `reason` of the metric nv_inference_request_failure."""

    REJECTED = "REJECTED"  # a queue policy refused it
    CANCELED = "CANCELED"
    BACKEND = "BACKEND"  # the model raised
    OTHER = "OTHER"


class SlipwayError(Exception):
    """An error with a code and a message that is safe to show to clients; for errors about a configuration or a model's
    files, `problems` holds what the message says as values."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        reason: FailureReason = FailureReason.OTHER,
        problems: Iterable[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.problems = tuple(problems)

    def without_frames(self, *, reason: FailureReason | None = None) -> SlipwayError:
        """Return the same error without a traceback, whose frames would keep a batch alive."""
        return SlipwayError(self.code, self.message, reason=reason or self.reason, problems=self.problems)

    def __repr__(self) -> str:
        return f"SlipwayError({self.code.name}, {self.message!r})"


def shown(value: object) -> str:
    """Return a name, id or value from a client as error messages show it: its first 256 characters."""
    text = str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def invalid(message: str) -> SlipwayError:
    """Return the error for an invalid request or argument."""
    return SlipwayError(Code.INVALID_ARG, message)


def refused(*problems: Problem, code: Code = Code.INVALID_ARG, separator: str = "; ") -> SlipwayError:
    """Return the error that states and carries all `problems` of a configuration or of a model's files."""
    return SlipwayError(code, separator.join(map(str, problems)), problems=problems)


def not_found(message: str) -> SlipwayError:
    """Return the error for a model, version or region that does not exist."""
    return SlipwayError(Code.NOT_FOUND, message)


def unavailable(message: str, *, reason: FailureReason = FailureReason.OTHER) -> SlipwayError:
    """Return the error for something that exists but cannot be used now."""
    return SlipwayError(Code.UNAVAILABLE, message, reason=reason)


def unsupported(message: str) -> SlipwayError:
    """Return the error for a feature that is not supported."""
    return SlipwayError(Code.UNSUPPORTED, message)


def internal(message: str, *, reason: FailureReason = FailureReason.OTHER) -> SlipwayError:
    """Return the error for a failure on the server's side."""
    return SlipwayError(Code.INTERNAL, message, reason=reason)


def unforeseen(error: BaseException) -> SlipwayError:
    """Return the error that a client gets instead of an exception that nobody expected, without its details.

    A request for which there is not enough memory, or no thread, may succeed later; any other such exception is a bug.
    """
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and str(error) == _NO_THREAD):
        return unavailable("the server does not have enough memory for this request; try again later")
    return internal("internal error")


def cancelled(message: str = "") -> SlipwayError:
    """Return the error for a request that its client gave up."""
    return SlipwayError(Code.CANCELLED, message, reason=FailureReason.CANCELED)
