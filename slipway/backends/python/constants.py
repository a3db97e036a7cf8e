"""Flags, memory kinds and the trace of `triton_python_backend_utils`."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

REQUEST_FLAG_SEQUENCE_START: Final = 1
REQUEST_FLAG_SEQUENCE_END: Final = 2
REQUEST_RELEASE_ALL: Final = 1
REQUEST_RELEASE_RESCHEDULE: Final = 2


class MemoryType(IntEnum):
    """The memory that a BLS request prefers for its outputs."""

    TRITONSERVER_MEMORY_GPU = 0
    TRITONSERVER_MEMORY_CPU = 1


class PreferredMemory:
    """The preferred place for BLS outputs; here they are always in main memory."""

    __slots__ = ("device_id", "memory_type")

    def __init__(self, preferred_memory_type: MemoryType, preferred_device_id: int = 0) -> None:
        self.memory_type = MemoryType(preferred_memory_type)
        self.device_id = preferred_device_id


class InferenceTrace:
    """The trace of a request; without tracing its context is None. `number` is what the server calls the trace."""

    __slots__ = ("_context", "number")

    def __init__(self, context: str | None = None, number: int = 0) -> None:
        self._context = context
        self.number = number

    def get_context(self) -> str | None:
        """Return the OpenTelemetry context as JSON, or None."""
        return self._context
