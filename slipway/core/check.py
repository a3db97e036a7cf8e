"""Check a request against the model's signature before it is queued.

The texts and codes are Triton's (core, `src/infer_request.cc`). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from slipway.core.bytes_codec import TruncatedElementError, count_elements
from slipway.core.request import InferRequest, RequestForm
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import CountedTensor, Tensor, UnreadTensor
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, invalid, shown

_MAX_NAMES = 100  # listed in an error; a request may contain a million
_MAX_LISTED = 2048  # characters of them
_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try "
    "setting max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


def check_request(request: InferRequest, signature: ModelSignature) -> int:
    """Return the request's rows (1 without a batch dimension), or raise `SlipwayError` (INVALID_ARG)."""
    if request.outputs and not signature.outputs.keys() >= set(request.outputs):
        raise _unknown_output(request, signature)
    inputs = request.inputs
    if inputs.keys() != signature.inputs.keys():
        _check_names(request, signature)
    rows = -1  # until the first input
    batched = signature.max_batch_size > 0
    try:
        for name, tensor in inputs.items():
            spec = signature.inputs[name]
            if tensor.datatype != spec.datatype:
                raise _refused(
                    request,
                    f"inference input '{name}' data-type is '{tensor.datatype}', but model '{signature.model_name}' "
                    f"expects '{spec.datatype}'",
                )
            shape = tensor.shape
            if batched:
                if not shape or shape[0] < 0 or not matches_dims(shape[1:], spec.dims):
                    raise _shape_error(request, tensor, spec, signature)
                if rows == -1:
                    rows = shape[0]
                elif rows != shape[0]:
                    raise _refused(
                        request, f"input '{name}' batch size does not match other inputs for '{signature.model_name}'"
                    )
            elif not matches_dims(shape, spec.dims):
                raise _shape_error(request, tensor, spec, signature)
            if not tensor.is_decoded:
                _check_bytes(request, tensor, signature)
    except SlipwayError:
        _check_rows(request, signature)
        raise
    if not batched:
        return 1
    if rows > signature.max_batch_size:
        raise _too_many_rows(request, signature)
    return max(rows, 0)


def check_form(request: InferRequest, form: RequestForm, signature: ModelSignature) -> int:
    """Do what `check_request` does, but only once for all requests of a form that come to the same model."""
    accepted_by, rows = form.accepted
    if accepted_by is not signature:
        rows = check_request(request, signature)
        form.accepted = signature, rows
    return rows


def _too_many_rows(request: InferRequest, signature: ModelSignature) -> SlipwayError:
    return _refused(
        request, f"inference request batch-size must be <= {signature.max_batch_size} for '{signature.model_name}'"
    )


def _check_rows(request: InferRequest, signature: ModelSignature) -> None:
    """Raise for a batch that is too large, which Triton reports before any fault of a tensor.

    Unless a tensor lacks the batch dimension: what would be taken for the number of rows is not one.
    """
    rows: set[int] = set()
    for name, tensor in request.inputs.items():
        if len(tensor.shape) <= len(signature.inputs[name].dims):
            return
        rows.add(tensor.shape[0])
    if 0 < signature.max_batch_size < min(rows, default=0) and len(rows) == 1:
        raise _too_many_rows(request, signature)


def _unknown_output(request: InferRequest, signature: ModelSignature) -> SlipwayError:
    first = min(name for name in request.outputs if name not in signature.outputs)
    return invalid(f"unexpected inference output '{shown(first)}' for model '{signature.model_name}'")


def _refused(request: InferRequest, message: str) -> SlipwayError:
    return invalid(request.log_prefix + message)


def matches_dims(shape: Sequence[int], dims: Sequence[int]) -> bool:
    """Return whether `shape` is one that `dims` declare, where -1 stands for any size."""
    if len(shape) != len(dims):
        return False
    for size, declared in zip(shape, dims, strict=True):
        if size < 0 or (declared != size and declared != -1):  # noqa: PLR1714  a set costs more
            return False
    return True


def _shape_error(request: InferRequest, tensor: Tensor, spec: TensorSpec, signature: ModelSignature) -> SlipwayError:
    batched = signature.max_batch_size > 0
    given = tensor.shape[1:] if batched else tensor.shape
    if -1 in given and len(given) == len(spec.dims):  # in the request; a declared -1 is any size
        return _refused(
            request,
            f"All input dimensions should be specified for input '{tensor.name}' for model '{signature.model_name}', "
            f"got {_dims(tensor.shape)}",
        )
    if batched and not tensor.shape:
        return _refused(
            request,
            f"input '{tensor.name}' has no shape but model requires batch dimension for '{signature.model_name}'",
        )
    expected = ((-1,) if batched else ()) + spec.dims
    return _refused(
        request,
        f"unexpected shape for input '{tensor.name}' for model '{signature.model_name}'. "
        f"Expected {_dims(expected)}, got {_dims(tensor.shape)}. " + (_BATCH_NOTE if batched else ""),
    )


def _dims(dims: Sequence[int]) -> str:
    return "[" + shown(",".join(map(str, dims))) + "]"


def _check_names(request: InferRequest, signature: ModelSignature) -> None:
    given, declared = request.inputs, signature.inputs
    required = signature.required_inputs
    if len(given) > len(declared) or len(given) < len(required):
        raise _refused(request, _count_message(request, signature))
    for name in given:
        if name not in declared:
            raise invalid(f"unexpected inference input '{shown(name)}' for model '{signature.model_name}'")
    if not required <= given.keys():
        raise _refused(request, _count_message(request, signature))


def _count_message(request: InferRequest, signature: ModelSignature) -> str:
    given, declared, required = request.inputs, signature.inputs, signature.required_inputs
    missing = [name for name in declared if name in required and name not in given]
    if len(required) == len(declared):
        message = f"expected {len(declared)} inputs but got {len(given)} inputs for model '{signature.model_name}'. "
    else:
        message = (
            f"expected number of inputs between {len(required)} and {len(declared)} but got {len(given)} inputs "
            f"for model '{signature.model_name}'. "
        )
    got = f"Got input(s) [{_quoted(list(given))}]"
    tail = f", but missing required input(s) [{_quoted(missing)}]. Please provide all required input(s)."
    return message + got + tail


def _quoted(names: Sequence[str]) -> str:
    quoted: list[str] = []
    length = 0
    for name in names[:_MAX_NAMES]:
        quoted.append(f"'{shown(name)}'")
        length += len(quoted[-1])
        if length > _MAX_LISTED:
            break
    return ",".join(quoted if len(quoted) == len(names) else [*quoted, "..."])


def _check_bytes(request: InferRequest, tensor: Tensor, signature: ModelSignature) -> None:
    if tensor.datatype != "BYTES":
        size = tensor.byte_size
        wanted = tensor.element_count * BY_NAME[tensor.datatype].size
        if size != wanted:
            raise _refused(
                request,
                f"input byte size mismatch for input '{tensor.name}' for model '{signature.model_name}'. "
                f"Expected {wanted}, got {size}",
            )
        return
    if not isinstance(tensor, UnreadTensor):  # such a request is checked again once it has been read
        _check_elements(request, tensor, signature)


def _count(tensor: Tensor) -> int:
    if not isinstance(tensor, CountedTensor):
        return count_elements(tensor.raw)
    if isinstance(tensor.elements, TruncatedElementError):
        raise tensor.elements
    return tensor.elements


def _check_elements(request: InferRequest, tensor: Tensor, signature: ModelSignature) -> None:
    expected = tensor.element_count
    where = f"inference input '{tensor.name}' for model '{signature.model_name}'"
    try:
        count = _count(tensor)
    except TruncatedElementError as error:
        if error.in_length:
            raise _refused(
                request,
                f"incomplete string length indicator for {where}, expecting {error.needed} bytes but only "
                f"{error.available} bytes available. Please make sure the string length indicator is in one buffer.",
            ) from None
        raise invalid(
            f"incomplete string data for inference input '{tensor.name}', expecting string of length {error.needed} "
            f"but only {error.available} bytes available"
        ) from None
    if count > expected:
        raise _refused(request, f"unexpected number of string elements {count} for {where}, expecting {expected}")
    if count < expected:
        raise _refused(request, f"expected {expected} string elements for {where}, got {count}")
