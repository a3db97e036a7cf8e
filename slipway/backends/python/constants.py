"""Flags, memory kinds and the trace of `triton_python_backend_utils`."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from slipway.backends.python.signatures import INT64, Native, Signature, StubParameter, an

REQUEST_FLAG_SEQUENCE_START: Final = 1
REQUEST_FLAG_SEQUENCE_END: Final = 2
REQUEST_RELEASE_ALL: Final = 1
REQUEST_RELEASE_RESCHEDULE: Final = 2


class MemoryType(IntEnum):
    """The memory that a BLS request prefers for its outputs."""

    TRITONSERVER_MEMORY_GPU = 0
    TRITONSERVER_MEMORY_CPU = 1


_PREFERRED_MEMORY: Final = Signature(
    "__init__",
    "c_python_backend_utils.PreferredMemory(preferred_memory_type: "
    "triton::backend::python::PreferredMemory::MemoryType, preferred_device_id: int = 0)",
    StubParameter("preferred_memory_type", an(MemoryType)),
    StubParameter("preferred_device_id", INT64, 0),
)


class PreferredMemory(Native):
    """The preferred place for BLS outputs: a memory type and a device. Here they are always in main memory."""

    __slots__ = ("device_id", "memory_type")
    native_name = "PreferredMemory"

    def __init__(self, *given: Any, **named: Any) -> None:
        self.memory_type, self.device_id = _PREFERRED_MEMORY.bind((), given, named)


class InferenceTrace(Native):
    """The trace of a request; without tracing its context is None. `number` is what the server calls the trace."""

    __slots__ = ("_context", "number")
    native_name = "InferenceTrace"

    def __init__(self, context: str | None = None, number: int = 0) -> None:
        self._context = context
        self.number = number

    def get_context(self) -> str | None:
        """Return the OpenTelemetry context as JSON, or None."""
        return self._context
