"""Between the server's requests and a function's arrays: what it gets, and the check of what it returns.

Pure. Arrays have the shapes of the declarations, behind the batch axis if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slipway.backends.function.bound_model import BoundModel
from slipway.backends.function.messages import Reply
from slipway.backends.function.tensor_type import TensorType
from slipway.core.batch import stack
from slipway.core.request import InferRequest, Parameter
from slipway.core.signature import ModelSignature
from slipway.datatypes import datatype_of
from slipway.errors import FailureReason, SlipwayError, internal, invalid, shown
from slipway.nearest import nearest_or_all


class ModelArrays:
    """The arrays of one bound model; `batched` says that they have a batch axis."""

    def __init__(self, model: BoundModel, signature: ModelSignature) -> None:
        self._name = model.name
        self._inputs = {tensor.name: tensor for tensor in model.inputs}
        self._outputs = {tensor.name: tensor for tensor in model.outputs}
        self._signature = signature
        self.has_texts = any(tensor.is_text for tensor in model.inputs)
        self.batched = signature.max_batch_size > 0

    def arguments(self, requests: Sequence[InferRequest]) -> dict[str, np.ndarray]:
        """Return the inputs of the batch by name, as arrays that the function may write to; raise INVALID_ARG for a
        text that is not UTF-8."""
        stacked = stack(requests, self._signature)
        is_shared = len(requests) == 1  # with the request, of which other steps of an ensemble may have the tensors
        return {name: self._argument(name, array, is_shared=is_shared) for name, array in stacked.items()}

    def _argument(self, name: str, array: np.ndarray, *, is_shared: bool) -> np.ndarray:
        if not self.batched and not self._inputs[name].dims:
            array = array.reshape(())  # which clients send as [1]
        if self._inputs[name].is_text:
            return _decoded(name, array)
        return array.copy() if is_shared else array

    def outputs(self, returned: Any, rows: int) -> dict[str, np.ndarray]:
        """Return the outputs of a batch of `rows` rows by name, as copies: the function may write to its arrays later.

        Raise INTERNAL, naming the output and both values, if they are not what is declared.
        """
        return {name: self._checked(self._outputs[name], value, rows) for name, value in self._by_name(returned)}

    def _by_name(self, returned: Any) -> list[tuple[str, Any]]:
        names = list(self._outputs)
        if isinstance(returned, Mapping):
            for name in returned:
                if name not in self._outputs:
                    raise self._wrong(f"returned an output '{shown(name)}' that is not declared", name)
            missing = [name for name in names if name not in returned]
            if missing:
                raise self._wrong(f"did not return output '{missing[0]}'")
            return [(name, returned[name]) for name in names]
        if len(names) == 1 and not isinstance(returned, tuple):
            return [(names[0], returned)]
        if not isinstance(returned, tuple):
            kind = type(returned).__name__
            raise self._wrong(f"returned {kind}, expected a dict by output name or a tuple of {len(names)} outputs")
        if len(returned) != len(names):
            raise self._wrong(f"returned {len(returned)} outputs, declared are {len(names)}: {', '.join(names)}")
        return list(zip(names, returned, strict=True))

    def _checked(self, tensor: TensorType, value: Any, rows: int) -> np.ndarray:
        array = self._strings(tensor, value) if tensor.datatype.name == "BYTES" else self._numbers(tensor, value)
        expected = (rows, *tensor.dims) if self.batched else tensor.dims
        if len(array.shape) != len(expected) or any(
            size not in (-1, given) for size, given in zip(expected, array.shape, strict=True)
        ):
            of = f" for a batch of {rows} rows" if self.batched else ""
            raise self._wrong(
                f"returned output '{tensor.name}' with shape {list(array.shape)}{of}, expected {list(expected)}"
            )
        return array.reshape(1) if not expected else array

    def _numbers(self, tensor: TensorType, value: Any) -> np.ndarray:
        """Return a copy of an array of the declared type, or the array of Python numbers."""
        wanted = tensor.datatype
        if not hasattr(value, "__array__"):
            try:
                return np.array(value, dtype=wanted.numpy, order="C")
            except (TypeError, ValueError, OverflowError) as error:
                raise self._wrong(f"returned output '{tensor.name}' that is not {wanted.name}: {error}") from None
        array = self._array(tensor, value)
        given = datatype_of(array.dtype)
        if given is not wanted:
            said = array.dtype if given is None else given.name
            raise self._wrong(
                f"returned output '{tensor.name}' as {said}, declared is {wanted.name}: convert it with "
                f".astype({wanted.numpy.name!r})"
            )
        return array

    def _strings(self, tensor: TensorType, value: Any) -> np.ndarray:
        array = self._array(tensor, value, np.object_)
        if not all(isinstance(element, str | bytes) for element in array.ravel().tolist()):
            odd = next(element for element in array.ravel().tolist() if not isinstance(element, str | bytes))
            raise self._wrong(f"returned output '{tensor.name}' with a {type(odd).__name__} among its strings")
        return array

    def _array(self, tensor: TensorType, value: Any, dtype: type | None = None) -> np.ndarray:
        try:
            return np.array(value, dtype=dtype, order="C")
        except Exception as error:  # noqa: BLE001  another library's code, such as that of a tensor with gradients
            text = f"returned output '{tensor.name}' that does not become an array: {type(error).__name__}: {error}"
            raise self._wrong(text) from None

    def parameters(self, reply: Reply, count: int) -> list[dict[str, Parameter]]:
        """Return the response parameters for each of `count` requests; raise INTERNAL for values that a response cannot
        carry."""
        given = reply.parameters
        each = [given] * count if isinstance(given, Mapping) else list(given)
        if len(each) != count:
            raise self._wrong(f"returned parameters for {len(each)} requests, the batch has {count}")
        for parameters in each:
            for key, value in parameters.items():
                if not isinstance(key, str) or not isinstance(value, str | int | float | bool):
                    what = f"parameter {shown(key)!r} with a {type(value).__name__}"
                    raise self._wrong(f"returned {what}, expected str, int, float or bool by str")
        return [dict(parameters) for parameters in each]

    def _wrong(self, what: str, name: object = None) -> SlipwayError:
        hint = "" if name is None else nearest_or_all(str(name), self._outputs)
        return internal(f"model '{self._name}' {what}{hint}", reason=FailureReason.BACKEND)


def _decoded(name: str, array: np.ndarray) -> np.ndarray:
    texts = np.empty(array.shape, dtype=np.object_)
    try:
        texts.ravel()[:] = [element.decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise invalid(f"input '{name}' is not valid UTF-8: {error.reason} at byte {error.start}") from None
    return texts
