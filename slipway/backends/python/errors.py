"""The two error types of `triton_python_backend_utils`, and how a model's exception is reported to a client.

A client sees Triton's form: the type, the text and the frames of the model's own code, innermost first. Triton prints
absolute paths; here they are relative to the model (or to the import path), so the server's paths do not leak.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, Final

from slipway.backends.python.signatures import Native, Signature, StubParameter, an, decoded, text
from slipway.errors import Code, FailureReason, SlipwayError

PROCESS_ENDED: Final = "the process of the model ended"  # by which `slipway verify` recognises it in a server's text

_OWN_PACKAGE: Final = str(Path(__file__).parent.parent.parent) + os.sep


class TritonModelException(Exception):  # noqa: N818  the name that models catch
    """The exception that `triton_python_backend_utils` raises, and that models may raise from any hook."""


class ErrorCode(IntEnum):
    """The codes of a `TritonError`."""

    UNKNOWN = 0
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    ALREADY_EXISTS = 6
    CANCELLED = 7

    def __repr__(self) -> str:
        return f"<__ErrorCode.{self.name}: {self.value}>"


_TRITON_ERROR: Final = Signature(
    "__init__",
    "c_python_backend_utils.TritonError(message: str, code: c_python_backend_utils.TritonError.__ErrorCode = "
    "<__ErrorCode.INTERNAL: 1>)",
    StubParameter("message", text),
    StubParameter("code", an(ErrorCode), ErrorCode.INTERNAL),
)


class TritonError(Native):
    """An error that answers one request, made from a message and a code (default: INTERNAL)."""

    __slots__ = ("_code", "_message")
    native_name = "TritonError"

    UNKNOWN: ClassVar[ErrorCode] = ErrorCode.UNKNOWN
    INTERNAL: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    NOT_FOUND: ClassVar[ErrorCode] = ErrorCode.NOT_FOUND
    INVALID_ARG: ClassVar[ErrorCode] = ErrorCode.INVALID_ARG
    UNAVAILABLE: ClassVar[ErrorCode] = ErrorCode.UNAVAILABLE
    UNSUPPORTED: ClassVar[ErrorCode] = ErrorCode.UNSUPPORTED
    ALREADY_EXISTS: ClassVar[ErrorCode] = ErrorCode.ALREADY_EXISTS
    CANCELLED: ClassVar[ErrorCode] = ErrorCode.CANCELLED

    def __init__(self, *given: Any, **named: Any) -> None:
        message, self._code = _TRITON_ERROR.bind((), given, named)
        self._message = decoded(message)

    def message(self) -> str:
        """Return the text."""
        return self._message

    def code(self) -> ErrorCode:
        """Return the code."""
        code: ErrorCode = self._code
        return code


def to_server_error(error: TritonError) -> SlipwayError:
    """Return a model's error as the server's own type."""
    return SlipwayError(Code[error.code().name], error.message(), reason=FailureReason.BACKEND)


def to_triton_error(error: SlipwayError) -> TritonError:
    """Return a server's error as a model sees it in a BLS response."""
    return TritonError(error.message, ErrorCode[error.code.name])


def describe_exception(error: BaseException, model_directory: str) -> str:
    """Return `Type: text` and the frames of code outside this server, innermost first."""
    said = str(error) or "<EMPTY MESSAGE>"
    frames = [
        f"  {_public_path(frame.filename, model_directory)}({frame.lineno}): {frame.name}\n"
        for frame in reversed(traceback.extract_tb(error.__traceback__))
        if not frame.filename.startswith((_OWN_PACKAGE, "<frozen "))
    ]
    head = f"{type(error).__name__}: {said}"
    return head + "\n\nAt:\n" + "".join(frames) if frames else head


def execution_error(instance_name: str, message: str) -> SlipwayError:
    """Return the error that answers every request of a batch whose execution failed."""
    said = f"Failed to process the request(s) for model '{instance_name}', message: {message}"
    return SlipwayError(Code.INTERNAL, said, reason=FailureReason.BACKEND)


def unhealthy_error(instance_name: str) -> SlipwayError:
    """Return the error that answers the requests that a process was executing when it died."""
    said = (
        f"Failed to process the request(s) for model instance '{instance_name}', "
        f"message: Stub process '{instance_name}' is not healthy."
    )
    return SlipwayError(Code.INTERNAL, said, reason=FailureReason.BACKEND)


def abandoned(model_name: str) -> SlipwayError:
    """Return the error for a request that its model dropped without a final answer."""
    return SlipwayError(
        Code.INTERNAL,
        f"Model '{model_name}' released a request without sending its final response.",
        reason=FailureReason.BACKEND,
    )


def _public_path(file_name: str, model_directory: str) -> str:
    roots = [model_directory, *sorted(sys.path, key=len, reverse=True)]
    path = Path(file_name)
    for root in roots:
        if root and path.is_relative_to(root):
            return str(path.relative_to(root))
    return path.name
