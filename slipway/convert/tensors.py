"""One input or output of a model as its config declares it, without the batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slipway.datatypes import DataType


@dataclass(frozen=True, slots=True)
class IoTensor:
    """A tensor; -1 in its shape is a variable dimension."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]

    def filled(self, rows: int, length: int) -> tuple[int, ...]:
        """Return a concrete shape: `rows` as the batch axis, `length` for each variable dimension."""
        return (rows, *(length if size < 0 else size for size in self.shape))

    def accepts(self, shape: Sequence[int]) -> bool:
        """Return whether an array's shape, batch axis first, matches the declaration."""
        sizes = shape[1:]
        return len(shape) == len(self.shape) + 1 and all(
            declared in (-1, size) for declared, size in zip(self.shape, sizes, strict=True)
        )

    def __str__(self) -> str:
        return f"'{self.name}' {self.datatype.name} {list(self.shape)}"
