"""`pb_utils.Tensor`: a named array as a Python model sees it.

Triton's models may write to their input arrays, so an input is decoded on first use into its own memory, unless it is
already in writable memory (a child's shared memory). numpy lacks BF16, so such tensors are exchanged only by DLPack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np

from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.signatures import Native, Signature, StubParameter, an, anything, decoded, text
from slipway.core.bytes_codec import decode_bytes
from slipway.core.tensor import Raw, Tensor
from slipway.datatypes import BY_NAME

_CPU: Final = 1  # kDLCPU of dlpack.h
TRITON_CODES: Final[dict[str, int]] = {
    "BOOL": 1,
    "UINT8": 2,
    "UINT16": 3,
    "UINT32": 4,
    "UINT64": 5,
    "INT8": 6,
    "INT16": 7,
    "INT32": 8,
    "INT64": 9,
    "FP16": 10,
    "FP32": 11,
    "FP64": 12,
    "BYTES": 13,
    "BF16": 14,
}
_DATATYPES: Final = {BY_NAME[name].numpy: name for name in TRITON_CODES if name != "BF16"}
_NO_STRINGS: Final = "DLPack does not have support for string tensors."
_NOT_DLPACK: Final = (
    "Provided tensor is not supported. Tensor must be a DLPack capsule or have `__dlpack__` and "
    "`__dlpack_device__` attributes"
)


_TENSOR: Final = Signature(
    "__init__",
    "c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)",
    StubParameter("", text),
    StubParameter("", an(np.ndarray)),
)
_FROM_DLPACK: Final = Signature(
    "from_dlpack",
    "(self: str, arg0: object) -> c_python_backend_utils.Tensor",
    StubParameter("", text),
    StubParameter("", anything),
)


class ModelTensor(Native):
    """A tensor of a request or a response, made from a name and a numpy array."""

    __slots__ = ("_array", "_datatype", "_name", "_shape", "_source")
    native_name = "Tensor"

    def __init__(self, *given: Any, **named: Any) -> None:
        if named or len(given) != 2 or type(given[0]) is not str or not isinstance(given[1], np.ndarray):
            _TENSOR.bind((), given, named)  # raises, unless the name is bytes
        name, array = decoded(given[0]), given[1]
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        datatype = _DATATYPES.get(array.dtype)
        if datatype is None:
            if array.dtype.kind != "S":
                raise TritonModelException("NumPy dtype is not supported.")
            datatype = "BYTES"
        self._name = name
        self._datatype = datatype
        self._array: np.ndarray | None = array if array.flags.c_contiguous else np.ascontiguousarray(array)
        self._shape: tuple[int, ...] = array.shape
        self._source: Raw | np.ndarray | None = None

    @classmethod
    def received(cls, name: str, datatype: str, shape: tuple[int, ...], source: Raw | np.ndarray) -> Self:
        """Return a tensor that the server hands to a model; `source` is its wire form or a possibly shared array."""
        tensor = cls.__new__(cls)
        tensor._adopt(name, datatype, shape, None, source)  # noqa: SLF001  of its own class
        return tensor

    @classmethod
    def of(cls, tensor: Tensor, shape: tuple[int, ...] | None = None) -> Self:
        """Return a server tensor as a model sees it, in `shape` if that differs."""
        source = tensor.array if tensor.is_decoded else tensor.raw
        return cls.received(tensor.name, tensor.datatype, tensor.shape if shape is None else shape, source)

    def _adopt(
        self,
        name: str,
        datatype: str,
        shape: tuple[int, ...],
        array: np.ndarray | None,
        source: Raw | np.ndarray | None,
    ) -> None:
        self._name = name
        self._datatype = datatype
        self._shape = shape
        self._array = array
        self._source = source

    def name(self) -> str:
        """Return the name."""
        return self._name

    def shape(self) -> list[int]:
        """Return the dimensions."""
        return list(self._shape)

    def triton_dtype(self) -> int:
        """Return the datatype's number (`TRITONSERVER_DataType`)."""
        return TRITON_CODES[self._datatype]

    def is_cpu(self) -> bool:
        """Return True: tensors are always in main memory here."""
        return True

    @staticmethod
    def named(tensors: Sequence[ModelTensor], name: str) -> ModelTensor | None:
        """Return the tensor `name`, or None."""
        for tensor in tensors:
            if tensor._name == name:  # noqa: SLF001  of its own class
                return tensor
        return None

    def as_numpy(self) -> np.ndarray:
        """Return the array, the same object each time; BYTES become an object array of `bytes`."""
        if self._datatype == "BF16":
            raise TritonModelException(
                "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
            )
        return self._decoded()

    def _decoded(self) -> np.ndarray:
        if self._array is None:
            self._array = _own_array(self._source if self._source is not None else b"", self._datatype, self._shape)
            self._source = None
        return self._array

    def server_tensor(self, *, copy: bool = True) -> Tensor:
        """Return the tensor as a server value; without `copy` it is valid until the model writes to its array."""
        source = self._source
        if source is not None:
            if isinstance(source, np.ndarray):
                return Tensor(self._name, self._datatype, self._shape, array=source.reshape(self._shape))
            return Tensor(self._name, self._datatype, self._shape, raw=source)
        array = self._decoded()
        if not copy:
            return Tensor(self._name, self._datatype, self._shape, array=array)
        if self._datatype == "BYTES":
            return Tensor(self._name, "BYTES", self._shape, array=_byte_elements(array))
        return Tensor(self._name, self._datatype, self._shape, raw=array.tobytes())

    def to_dlpack(self) -> Any:
        """Return a DLPack capsule of the array."""
        return self.__dlpack__()

    def __dlpack__(self, **options: Any) -> Any:
        if self._datatype == "BYTES":
            raise TritonModelException(_NO_STRINGS)
        array = self._decoded()
        if self._datatype == "BF16":
            import torch  # numpy cannot export BF16

            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).__dlpack__()
        if not array.flags.writeable:
            array = array.copy()
        return array.__dlpack__(**{key: value for key, value in options.items() if key != "stream"})

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_CPU, 0)

    @classmethod
    def from_dlpack(cls, *given: Any, **named: Any) -> Self:
        """Return a tensor with a name, on the memory of a DLPack capsule or of any object with `__dlpack__`."""
        name, tensor = _FROM_DLPACK.bind((), given, named)
        name = decoded(name)
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        if type(tensor).__name__ == "PyCapsule":
            tensor = _CapsuleOwner(tensor)
        elif not hasattr(tensor, "__dlpack__") or not hasattr(tensor, "__dlpack_device__"):
            raise TritonModelException(_NOT_DLPACK)
        if tensor.__dlpack_device__()[0] != _CPU:
            raise TritonModelException("Tensor is stored in GPU; this server accepts only tensors in main memory.")
        array, datatype = _import_dlpack(tensor)
        if not array.flags.c_contiguous:
            raise TritonModelException(
                "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order are "
                "supported."
            )
        made = cls.__new__(cls)
        made._adopt(name, datatype, array.shape, array, None)  # noqa: SLF001  of its own class
        return made


class _CapsuleOwner:
    """Adds to a plain capsule the two methods that importers call."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_CPU, 0)


def _import_dlpack(source: Any) -> tuple[np.ndarray, str]:
    try:
        array = np.from_dlpack(source)
    except (BufferError, RuntimeError, TypeError) as error:
        return _import_bfloat16(source, error)
    datatype = _DATATYPES.get(array.dtype)
    if datatype is None:
        raise TritonModelException("DLPack dtype is not supported.")
    return array, datatype


def _import_bfloat16(source: Any, error: Exception) -> tuple[np.ndarray, str]:
    """Import a BF16 tensor through torch, which can view it as integers; `error` is the reason numpy gave."""
    try:
        import torch.utils.dlpack
    except ImportError:
        raise TritonModelException(f"DLPack tensor cannot be read: {error}") from error
    tensor = torch.utils.dlpack.from_dlpack(source.capsule if isinstance(source, _CapsuleOwner) else source)
    if tensor.dtype is not torch.bfloat16:
        raise TritonModelException(f"DLPack tensor cannot be read: {error}") from error
    return tensor.detach().view(torch.int16).numpy().view(BY_NAME["BF16"].numpy), "BF16"


def _own_array(source: Raw | np.ndarray, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return source.reshape(shape).copy()  # the config may reshape it for the model
    if datatype == "BYTES":
        elements = decode_bytes(source)
        array = np.empty(len(elements), dtype=np.object_)
        array[:] = elements
        return array.reshape(shape)
    array = np.ndarray(shape, BY_NAME[datatype].numpy, source)  # a third of what `frombuffer` takes
    if array.nbytes != len(source):
        raise ValueError(f"{len(source)} bytes are not a tensor of {datatype} and shape {list(shape)}")
    return array if array.flags.behaved else array.copy()


def _byte_elements(array: np.ndarray) -> np.ndarray:
    elements = array.ravel().tolist()
    copy = np.empty(len(elements), dtype=np.object_)
    copy[:] = [item if type(item) is bytes else _encoded(item) for item in elements]
    return copy.reshape(array.shape)


def _encoded(item: object) -> bytes:
    return bytes(item) if isinstance(item, bytes) else str(item).encode()
