"""A response as a cache keeps it: tensors in their wire form, in memory of their own.

What a model returned may be a view of a batch, of a request's body or of memory shared with a process, and would keep
all of it alive; so the bytes are copied once. Pure; `of` may run in any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.core.request import Parameter
from slipway.core.tensor import Raw, Tensor

# What Python's objects take beside the data, in bytes, measured with tracemalloc (tests/response_cache/test_local.py).
_RESPONSE: Final = 500
_TENSOR: Final = 350
_DIMENSION: Final = 40
_PARAMETER: Final = 250
_PIECE: Final = 1 << 20  # bytes copied at once: a copy holds the interpreter lock


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One output in its wire form."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, weakref_slot=True)
class StoredResponse:
    """The outputs and parameters of a response; `size` is the memory in bytes that they take."""

    tensors: tuple[StoredTensor, ...]
    parameters: tuple[tuple[str, Parameter], ...]
    size: int

    @classmethod
    def of(cls, outputs: Sequence[Tensor], parameters: Mapping[str, Parameter]) -> StoredResponse:
        """Return a copy of a response's content. Encodes strings: large work if there are many."""
        tensors = tuple(
            StoredTensor(tensor.name, tensor.datatype, tuple(tensor.shape), _own(tensor.raw)) for tensor in outputs
        )
        return cls.made_of(tensors, tuple(parameters.items()))

    @classmethod
    def made_of(
        cls, tensors: tuple[StoredTensor, ...], parameters: tuple[tuple[str, Parameter], ...]
    ) -> StoredResponse:
        """Return the response of these parts, which are not copied."""
        size = _RESPONSE
        for tensor in tensors:
            size += _TENSOR + len(tensor.name) + _DIMENSION * len(tensor.shape) + len(tensor.raw)
        for name, value in parameters:
            size += _PARAMETER + 4 * len(name) + (4 * len(value) if isinstance(value, str) else 0)
        return cls(tensors, parameters, size)

    def outputs(self) -> list[Tensor]:
        """Return new tensors on the stored bytes: an array that is made of one is not kept with the response."""
        return [
            Tensor(tensor.name, tensor.datatype, tensor.shape, raw=memoryview(tensor.raw).toreadonly())
            for tensor in self.tensors
        ]


def _own(raw: Raw) -> bytes | bytearray:
    if isinstance(raw, bytes):
        return raw
    if len(raw) <= _PIECE:
        return bytes(raw)
    copy = bytearray(len(raw))
    for start in range(0, len(raw), _PIECE):
        copy[start : start + _PIECE] = raw[start : start + _PIECE]
    return copy
