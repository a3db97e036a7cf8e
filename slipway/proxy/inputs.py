"""JSON values to tensors in the form that gRPC carries. Knows one tensor at a time.

A value may leave out axes: a number or text stands for a row of one element, a row for a batch of one row. The server
checks the sizes; here, only what cannot be sent is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np

from slipway.core.bytes_codec import encode_bytes
from slipway.proxy.description import TensorDescription
from slipway.proxy.elements import checked
from slipway.proxy.encoded_bytes import ENCODED, decoded
from slipway.proxy.failures import RefusedBody, problem

_BYTES: Final = "BYTES"
# Kind of a datatype -> kinds of arrays whose elements can stand for it; V: bfloat16, which is not numpy's own
_PLAIN: Final = {"f": "fiu", "V": "fiu", "i": "iu", "u": "iu", "b": "b"}


class EncodedTensor(NamedTuple):
    """The shape and the raw contents of an input."""

    shape: list[int]
    raw: bytes


def encode_input(tensor: TensorDescription, value: object, *, all_problems: bool) -> EncodedTensor:
    """Return the tensor for a JSON value; raise `RefusedBody`."""
    if tensor.datatype.name != _BYTES and isinstance(value, dict):
        return _raw_tensor(tensor, value)
    depth = _depth(tensor, value)
    if tensor.datatype.name == _BYTES:
        texts: list[bytes] = []
        shape = _lists(tensor, value, depth, texts, all_problems=all_problems)
        return EncodedTensor(full_shape(tensor, shape), encode_bytes(texts))
    array = _plain_array(tensor, value)
    if array is None:
        array = _array(tensor, checked(tensor.datatype.name, depth, value, (tensor.name,), all_problems=all_problems))
    return EncodedTensor(full_shape(tensor, array.shape), array.tobytes())


def full_shape(tensor: TensorDescription, shape: tuple[int, ...]) -> list[int]:
    """Return the shape with the axes that a value left out: those at the end if all of them have size 1 (a list of
    texts is a batch of rows with one text), otherwise those at the beginning (a row is a batch of one)."""
    missing = len(tensor.shape) - len(shape)
    if missing > 0 and shape and all(size == 1 for size in tensor.shape[-missing:]):
        return [*shape, *[1] * missing]
    return [*[1] * missing, *shape]


def _depth(tensor: TensorDescription, value: object) -> int:
    """Return how deep the lists in a value are, as far as its first elements show."""
    depth = 0
    while isinstance(value, list):
        depth += 1
        if depth > len(tensor.shape):
            limit = len(tensor.shape)
            message = f"Input should have at most {limit} levels of lists, for the shape {list(tensor.shape)}"
            raise RefusedBody([problem("too_deep", (tensor.name,), message, value)])
        if not value:
            break
        value = value[0]
    return depth


def _plain_array(tensor: TensorDescription, value: object) -> np.ndarray | None:
    """Return the array of a value that needs neither conversions nor an error, None for any other.

    It takes a quarter of the time of the way over pydantic, which finds what is wrong and reads numbers in texts.
    """
    dtype = tensor.datatype.numpy
    if _has_text(value):  # numpy would give every element the size of the longest text
        return None
    try:
        found = np.array(value)
    except ValueError:  # different lengths
        return None
    if found.dtype.kind not in _PLAIN[dtype.kind] or found.size == 0:
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if found.min() < limits.min or found.max() > limits.max:
            return None
    try:
        with np.errstate(over="raise"):
            return found.astype(dtype, copy=False)
    except FloatingPointError:
        return None


def _has_text(value: object) -> bool:
    """Return whether there may be a text among the elements of nested lists of one depth."""
    level: list[Any] = [value]
    while (kinds := set(map(type, level))) == {list}:
        level = list(chain.from_iterable(level))
    return str in kinds or list in kinds


def _array(tensor: TensorDescription, value: Any) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return np.array(value, dtype=tensor.datatype.numpy)
    except FloatingPointError:
        message = f"Input should be in the range of {tensor.datatype.name}"
        raise RefusedBody([problem("out_of_range", (tensor.name,), message, value)]) from None
    except ValueError:  # numpy's text is about arrays
        raise RefusedBody([_ragged(tensor, value)]) from None


def _ragged(tensor: TensorDescription, value: object) -> dict[str, Any]:
    message = f"Lists of '{tensor.name}' that stand for the same axis should have the same length"
    return problem("different_lengths", (tensor.name,), message, value)


def _lists(
    tensor: TensorDescription, value: Any, depth: int, texts: list[bytes], *, all_problems: bool
) -> tuple[int, ...]:
    """Append the texts in nested lists to `texts`; return their shape."""

    def walk(part: Any, level: int) -> tuple[int, ...]:
        if level == depth:
            texts.append(_text(part))
            return ()
        if not isinstance(part, list):
            raise _NotText
        shapes = {walk(each, level + 1) for each in part}
        if len(shapes) > 1:
            raise RefusedBody([_ragged(tensor, value)])
        return (len(part), *shapes.pop()) if shapes else (0,)

    try:
        return walk(value, 0)
    except _NotText:
        checked(_BYTES, depth, _without_encoded(value), (tensor.name,), all_problems=all_problems)
        raise RefusedBody([_not_encoded(tensor, value)]) from None


class _NotText(Exception):  # noqa: N818  a signal inside this module
    """An element is neither a text nor encoded bytes."""


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    content = decoded(value)
    if content is None:
        raise _NotText
    return content


def _without_encoded(value: object) -> object:
    """Return the value with a text in place of what is encoded well, for pydantic to find what is not a text."""
    if isinstance(value, list):
        return [_without_encoded(each) for each in value]
    return "" if isinstance(value, dict) and value.keys() == {ENCODED} else value


def _not_encoded(tensor: TensorDescription, value: object) -> dict[str, Any]:
    message = f'Input should be a text, or {{"{ENCODED}": "..."}} with bytes in base64'
    return problem("base64", (tensor.name,), message, value)


def _raw_tensor(tensor: TensorDescription, value: dict[str, Any]) -> EncodedTensor:
    """Return the tensor whose little-endian contents are encoded, if only one of its sizes has to be found."""
    content = decoded(value)
    if content is None:
        message = f'Input should be a number, lists of numbers, or {{"{ENCODED}": "..."}} with their bytes in base64'
        raise RefusedBody([problem("base64", (tensor.name,), message, value)])
    count, rest = divmod(len(content), tensor.datatype.size)
    shapes = _fitting(tensor, count) if not rest else iter(())
    shape = next(shapes, None)
    if shape is None:
        message = (
            f"{len(content)} bytes do not fill a tensor {tensor.datatype.name} of the shape {list(tensor.shape)}, or "
            "more than one of its sizes varies"
        )
        raise RefusedBody([problem("base64_size", (tensor.name,), message, value)])
    return EncodedTensor(shape, content)


def _fitting(tensor: TensorDescription, count: int) -> Iterator[list[int]]:
    """Yield the shape of `count` elements: if two sizes vary, the first one is that of a batch of one row."""
    shape = list(tensor.shape)
    if shape.count(-1) > 1:
        shape[0] = 1 if shape[0] == -1 else shape[0]
    known = int(np.prod([size for size in shape if size != -1], dtype=np.int64))
    if shape.count(-1) > 1 or not known:
        return
    if -1 in shape and count % known == 0:
        yield [count // known if size == -1 else size for size in shape]
    elif known == count:
        yield shape
