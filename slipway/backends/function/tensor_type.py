"""`slipway.TensorType`: what one input or output of a bound function is, and where declarations come from.

Pure. A declaration is given as a list or a mapping, or is part of the function's annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.datatypes import BY_CONFIG_NAME, BY_NAME, DataType, datatype_of
from slipway.errors import invalid
from slipway.nearest import nearest_or_all

_TEXTS: Final = (str, np.str_)
_STRINGS: Final = (bytes, np.bytes_, object, np.object_)
_ONE_VALUE: Final = (1,)  # the dims that clients see of a tensor of shape ()


@dataclass(frozen=True, slots=True)
class TensorType:
    """One input or output of a bound model: its number type, its shape without the batch axis, and its name.

    `dtype` is a numpy type (`np.float32`), the protocol's name ("FP32", "BF16"), `str` for texts, which the function
    gets and returns as `str`, or `bytes`. `shape` may be an int; -1 is a dimension of any size, and () is one value per
    row, which clients send as [1]. Without a `name`, an input has the name of the function's parameter. An `optional`
    input may be left out by clients, if the function's parameter has a default. Raises INVALID_ARG.
    """

    dtype: Any
    shape: int | Sequence[int] = ()
    name: str = ""
    optional: bool = False

    def __post_init__(self) -> None:
        """Check the type and the shape; keep the shape as a tuple."""
        object.__setattr__(self, "shape", _shape(self.shape))
        read_dtype(self.dtype)

    @property
    def datatype(self) -> DataType:
        """The datatype on the wire."""
        return read_dtype(self.dtype)

    @property
    def is_text(self) -> bool:
        """Whether the elements are `str` in Python, and UTF-8 on the wire."""
        return self.dtype in _TEXTS if isinstance(self.dtype, type) else self.dtype == "str"

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape as a tuple."""
        return tuple(self.shape) if not isinstance(self.shape, int) else (self.shape,)

    def declare(
        self, message: model_config_pb2.ModelInput | model_config_pb2.ModelOutput, *, batched: bool = True
    ) -> None:
        """Fill the entry of a model's configuration."""
        message.name = self.name
        message.data_type = model_config_pb2.DataType.Value(self.datatype.config_name)
        message.dims.extend(self.dims or _ONE_VALUE)
        if not self.dims and batched:  # Triton's configurations have no scalars without a batch axis
            message.reshape.SetInParent()  # to the shape [], as the function sees it
        if isinstance(message, model_config_pb2.ModelInput):
            message.optional = self.optional


def _shape(given: object) -> tuple[int, ...]:
    sizes = (given,) if isinstance(given, int) else given
    if not isinstance(sizes, Iterable) or isinstance(sizes, str | bytes):
        raise invalid(f"shape {given!r} is not a sequence of sizes")
    shape = tuple(sizes)
    if not all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in shape):
        raise invalid(f"shape {given!r} is not a sequence of whole numbers")
    if not all(size == -1 or size > 0 for size in shape):
        raise invalid(f"shape {list(shape)} has a size that is neither positive nor -1 (any size)")
    return tuple(int(size) for size in shape)


def read_dtype(dtype: Any) -> DataType:
    """Return the datatype of a numpy type, of a name of the protocol, of `str` or of `bytes`; raise INVALID_ARG."""
    if isinstance(dtype, type) and dtype in (*_TEXTS, *_STRINGS):
        return BY_NAME["BYTES"]
    if isinstance(dtype, str):
        known = BY_NAME.get(dtype) or BY_CONFIG_NAME.get(dtype)
        if known is not None:
            return known
        if dtype in ("str", "bytes"):
            return BY_NAME["BYTES"]
    try:
        found = datatype_of(np.dtype(dtype))
    except TypeError:
        raise invalid(f"'{dtype}' is not a tensor's type{nearest_or_all(str(dtype), BY_NAME)}") from None
    if found is None:
        raise invalid(f"the protocol cannot carry numpy type '{np.dtype(dtype)}'; it has {', '.join(BY_NAME)}")
    return found


# Where declarations come from

Declared = Sequence[TensorType] | Mapping[str, TensorType]


def named(given: Declared, names: Sequence[str], what: str) -> tuple[TensorType, ...]:
    """Return the tensors with their names: their own, the keys of a mapping, else those of `names`, in order.

    `what` is "input" or "output". Raise INVALID_ARG for a tensor without a name, and for a name that is there twice.
    """
    if isinstance(given, TensorType):
        given = [given]
    if isinstance(given, Mapping):
        tensors = [replace(_tensor(each, what), name=name) for name, each in given.items()]
    else:
        tensors = list(_numbered(given, names, what))
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise invalid(f"{what} '{tensor.name}' is declared twice")
        seen.add(tensor.name)
    return tuple(tensors)


def _numbered(given: Iterable[object], names: Sequence[str], what: str) -> Iterator[TensorType]:
    for position, each in enumerate(given):
        tensor = _tensor(each, what)
        if tensor.name:
            yield tensor
        elif position < len(names):
            yield replace(tensor, name=names[position])
        else:
            raise invalid(f"{what} {position + 1} has no name: set TensorType(..., name=...)")


def _tensor(given: object, what: str) -> TensorType:
    if not isinstance(given, TensorType):
        raise invalid(f"an {what} is declared by a slipway.TensorType, not by {given!r}")
    return given


def output_names(count: int) -> tuple[str, ...]:
    """Return the names of outputs that are declared without one: `output`, or `output_1`, `output_2` and so on."""
    return ("output",) if count == 1 else tuple(f"output_{number}" for number in range(1, count + 1))


def annotated_inputs(function: Any, parameters: Mapping[str, bool]) -> list[TensorType]:
    """Return the inputs in a function's annotations, `Annotated[np.ndarray, TensorType(...)]`. `parameters` holds the
    names that need one, and whether they may be left out. Raise INVALID_ARG for a parameter without one."""
    hints = _hints(function)
    tensors = []
    for name, has_default in parameters.items():
        found = _annotated(hints.get(name))
        if found is None:
            raise invalid(
                f"parameter '{name}' is not annotated with a slipway.TensorType: annotate it, or set inputs=[...]"
            )
        tensors.append(replace(found, name=found.name or name, optional=found.optional or has_default))
    return tensors


def annotated_outputs(function: Any, *, stream: bool) -> list[TensorType]:
    """Return the outputs in a function's return annotation: one tensor, a tuple of them, a TypedDict, or, for a
    `stream`, an iterator of any of these. Raise INVALID_ARG if there are none."""
    hint = _hints(function).get("return")
    if stream and get_origin(hint) is not Annotated and get_args(hint):
        hint = get_args(hint)[0]
    found = _annotated(hint)
    if found is not None:
        return [found]
    if hint is not None and is_typeddict(hint):
        parts = get_type_hints(hint, include_extras=True)
        tensors = {name: _annotated(part) for name, part in parts.items()}
        declared = [replace(tensor, name=tensor.name or name) for name, tensor in tensors.items() if tensor is not None]
        if declared and len(declared) == len(parts):
            return declared
    members = [_annotated(part) for part in get_args(hint)] if get_origin(hint) is tuple else []
    if members and None not in members:
        return [member for member in members if member is not None]
    raise invalid("the return value is not annotated with a slipway.TensorType: annotate it, or set outputs=[...]")


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise invalid(f"the annotations cannot be read ({error}): set inputs=[...] and outputs=[...]") from None


def _annotated(hint: Any) -> TensorType | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((each for each in get_args(hint)[1:] if isinstance(each, TensorType)), None)
