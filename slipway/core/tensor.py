"""A named tensor in one of two forms: the received bytes, or a numpy array.

Either form is made from the other on first use, so a tensor that only passes through is never decoded, and a model's
output is never copied before a front needs its bytes. Tensors are immutable by convention: arrays made from received
bytes are read-only views of them.
"""

from __future__ import annotations

from itertools import islice
from math import prod
from typing import Final

import numpy as np

from slipway.core.bytes_codec import TruncatedElementError, count_elements, decode_bytes, encode_bytes
from slipway.core.large_work import LARGE, LARGE_COUNT
from slipway.datatypes import BY_NAME, datatype_of
from slipway.errors import internal

Raw = bytes | memoryview

_PREFIX: Final = 4  # bytes of the length before each string
_STRINGS: Final = frozenset((bytes, str))


class Tensor:
    """A tensor `name` of `datatype` (a protocol name such as "FP32") and `shape`, batch dimension included."""

    __slots__ = ("_array", "_raw", "_seen", "datatype", "name", "shape")

    def __init__(
        self,
        name: str,
        datatype: str,
        shape: tuple[int, ...],
        *,
        raw: Raw | None = None,
        array: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self._raw = raw
        self._array = array
        self._seen = -1  # `byte_size` of an array of strings, once it was asked for

    @classmethod
    def from_array(cls, name: str, array: np.ndarray) -> Tensor:
        """Return the tensor of a numpy array; raise `SlipwayError` (INTERNAL) for a dtype outside the protocol."""
        datatype = datatype_of(array.dtype)
        if datatype is None:
            raise internal(f"tensor '{name}' has numpy type '{array.dtype}', which the protocol cannot carry")
        return cls(name, datatype.name, array.shape, array=array)

    @property
    def array(self) -> np.ndarray:
        """The numpy array; BYTES are an object array of `bytes`. Raise ValueError if the bytes do not fit the shape."""
        if self._array is None:
            self._array = _to_array(self._raw or b"", self.datatype, self.shape)
        return self._array

    @property
    def raw(self) -> Raw:
        """The wire form: little-endian, row-major; BYTES with length prefixes."""
        if self._raw is None:
            self._raw = _to_raw(self.array)
        return self._raw

    @property
    def is_decoded(self) -> bool:
        """Whether the numpy array already exists."""
        return self._array is not None

    @property
    def is_large_to_pack(self) -> bool:
        """Whether making `raw` is large work: there are many strings, or a few long ones."""
        array = self._array
        if self._raw is not None or array is None or array.dtype.kind not in "SUO":
            return False
        return array.size > LARGE_COUNT or self.byte_size > LARGE

    @property
    def element_count(self) -> int:
        """Return the product of the dimensions; 1 for a scalar."""
        return prod(self.shape)

    @property
    def byte_size(self) -> int:
        """The size of the wire form, or a lower bound of it: an array is not encoded, a character of a text counts as
        one byte, and of many strings only the first are looked at."""
        if self._raw is not None:
            return len(self._raw)
        if self._array is None:
            return 0
        if self._array.dtype.kind != "O":
            return self._array.nbytes
        if self._seen < 0:
            self._seen = _least(self._array)
        return self._seen

    def measure(self) -> int:
        """Return the size of the wire form without encoding it; for threads, because it looks at every string."""
        if self._raw is not None or self._array is None or self._array.dtype.kind != "O":
            return self.byte_size
        flat = self._array.ravel()
        starts = range(0, flat.size, LARGE_COUNT)
        return _PREFIX * flat.size + sum(_encoded(flat[start : start + LARGE_COUNT].tolist()) for start in starts)

    def reshaped(self, shape: tuple[int, ...]) -> Tensor:
        """Return the same data with another shape of equal element count."""
        array = None if self._array is None else self._array.reshape(shape)
        return Tensor(self.name, self.datatype, shape, raw=self._raw, array=array)

    def renamed(self, name: str) -> Tensor:
        """Return the same data under another name."""
        return Tensor(name, self.datatype, self.shape, raw=self._raw, array=self._array)

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.datatype}, {list(self.shape)})"


class CountedTensor(Tensor):
    """A BYTES tensor in wire form with the result of `count_elements`: for a large one, counting is work of its own."""

    __slots__ = ("elements",)

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        raw: Raw,
        elements: int | TruncatedElementError,
        array: np.ndarray | None = None,
    ) -> None:
        super().__init__(name, "BYTES", shape, raw=raw, array=array)
        self.elements = elements

    @classmethod
    def of(cls, tensor: Tensor) -> CountedTensor:
        """Return `tensor` with its elements counted."""
        elements: int | TruncatedElementError
        try:
            elements = count_elements(tensor.raw)
        except TruncatedElementError as error:
            elements = error.with_traceback(None)
        return cls(tensor.name, tensor.shape, tensor.raw, elements)

    def reshaped(self, shape: tuple[int, ...]) -> CountedTensor:
        """Return the same data, still counted, with another shape of equal element count."""
        array = None if self._array is None else self._array.reshape(shape)
        return CountedTensor(self.name, shape, self.raw, self.elements, array)

    def renamed(self, name: str) -> CountedTensor:
        """Return the same data, still counted, under another name."""
        return CountedTensor(name, self.shape, self.raw, self.elements, self._array)


class UnreadTensor(Tensor):
    """A tensor whose bytes are elsewhere: their number is known, `raw` and `array` do not exist yet."""

    __slots__ = ("size",)

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...], size: int) -> None:
        super().__init__(name, datatype, shape)
        self.size = size

    @property
    def byte_size(self) -> int:
        """The number of bytes."""
        return self.size


def _least(array: np.ndarray) -> int:
    if array.size <= LARGE_COUNT:
        return _length(array.ravel().tolist())
    return _PREFIX * array.size + _length(list(islice(array.flat, LARGE_COUNT)))


def _length(elements: list[object]) -> int:
    if _STRINGS.issuperset(map(type, elements)):
        return sum(map(len, elements))  # type: ignore[arg-type]
    return sum(len(element) for element in elements if isinstance(element, (bytes, str)))


def _encoded(elements: list[object]) -> int:
    texts = [element for element in elements if isinstance(element, str) and not element.isascii()]
    more = 0  # bytes than characters
    for text in texts:
        starts = range(0, len(text), LARGE)
        more += sum(len(text[start : start + LARGE].encode(errors="surrogatepass")) for start in starts) - len(text)
    return _length(elements) + more


def _to_array(raw: Raw, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    if datatype == "BYTES":
        return _to_strings(raw).reshape(shape)
    return np.frombuffer(raw, dtype=BY_NAME[datatype].numpy).reshape(shape)


def _to_strings(raw: Raw) -> np.ndarray:
    elements = decode_bytes(raw)
    array = np.empty(len(elements), dtype=np.object_)
    for start in range(0, len(elements), LARGE_COUNT):  # one assignment would hold the interpreter lock for long
        array[start : start + LARGE_COUNT] = elements[start : start + LARGE_COUNT]
    return array


def _to_raw(array: np.ndarray) -> Raw:
    if array.dtype.kind in "SUO":
        flat = array.ravel()
        if flat.size <= LARGE_COUNT:
            return encode_bytes(flat.tolist())
        starts = range(0, flat.size, LARGE_COUNT)
        return b"".join(encode_bytes(flat[start : start + LARGE_COUNT].tolist()) for start in starts)
    if array.dtype.kind == "V":  # ml_dtypes' bfloat16 does not export the buffer protocol
        return array.tobytes()
    contiguous = np.ascontiguousarray(array)
    return contiguous.data.cast("B") if contiguous.size else b""
