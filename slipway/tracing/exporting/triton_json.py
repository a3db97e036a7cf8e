"""A trace as JSON objects in the form of Triton's trace files (docs/user_guide/trace.md, tracer.cc). Pure.

    {"id":1,"model_name":"simple","model_version":1},{"id":1,"timestamps":[{"name":"REQUEST_START","ns":2356425054785}]}

Triton prints UINT8 and INT8 as characters and 16-bit floats not at all; here they are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import orjson

from slipway.core.bytes_codec import decode_bytes
from slipway.core.tensor import Tensor
from slipway.tracing.moments import NAMES, REQUEST_START
from slipway.tracing.record import RequestRecord, TensorRecord, TraceRecord

_NUMBER: Final = "\0"  # stands for the trace's number
_MOST_KEPT: Final = 64  # moments of a form that is kept: a stream's row is long, and hardly ever comes again


def write_trace(trace: TraceRecord) -> str:
    """Return the trace as JSON objects, separated by commas; "" if there is nothing in it."""
    requests = trace.requests
    if trace.with_times and len(requests) == 1 and not requests[0].tensors:  # almost all are
        return _moments(requests[0])
    return ",".join(part for request in requests for part in _parts(request, with_times=trace.with_times) if part)


def _parts(request: RequestRecord, *, with_times: bool) -> Iterator[str]:
    if with_times:
        yield _moments(request)
    elif request.model:
        yield _record(request)
    for tensor in request.tensors:
        yield _tensor(request.number, tensor)


def _moments(request: RequestRecord) -> str:
    moments = tuple(request.moments[::2])
    times: list[int | str] = request.moments[1::2]  # type: ignore[assignment]  # a copy, which gets a text too
    model = ""
    if request.request_id or request.parent:
        if REQUEST_START in moments:
            times.insert(moments.index(REQUEST_START), _record(request))
    else:
        model = _model(request.model, request.version)
    form = _form if len(moments) <= _MOST_KEPT else _form.__wrapped__
    return str(request.number).join(form(moments, model)) % tuple(times)


@lru_cache(512)
def _form(moments: tuple[int, ...], model: str) -> list[str]:
    """Return the text for a row of moments, without the trace's number between its parts, with a place for each time.
    If the record of the request consists of its number and `model`, it is in the text, and otherwise has a place."""
    parts = ['{"id":' + _NUMBER + ',"timestamps":[{"name":"' + NAMES[moment] + '","ns":%d}]}' for moment in moments]
    if REQUEST_START in moments:
        record = '{"id":' + _NUMBER + "," + model.replace("%", "%%") + "}"
        parts.insert(moments.index(REQUEST_START), record if model else "%s")
    return ",".join(parts).split(_NUMBER)


def _record(request: RequestRecord) -> str:
    text = f'{{"id":{request.number},{_model(request.model, request.version)}'
    if request.request_id:
        text += f',"request_id":{_json(request.request_id)}'
    if request.parent:
        text += f',"parent_id":{request.parent}'
    return text + "}"


@lru_cache(512)
def _model(name: str, version: int) -> str:
    return f'"model_name":{_json(name)},"model_version":{version}'


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


# Tensors


def _tensor(number: int, tensor: TensorRecord) -> str:
    shape = ",".join(map(str, tensor.shape))
    return (
        f'{{"id":{number},"activity":"{tensor.activity}","tensor":{{"name":{_json(tensor.name)},"data":{_data(tensor)},'
        f'"shape":"{shape}","dtype":"{tensor.datatype}"}}}}'
    )


def _data(tensor: TensorRecord) -> str:
    """Return the elements in row-major order, as one JSON string: numbers, or strings quoted as in CSV."""
    if tensor.datatype == "BYTES":
        elements = [element.decode(errors="backslashreplace") for element in decode_bytes(tensor.data)]
        return _json(",".join('"' + element.replace('"', '""') + '"' for element in elements))
    return f'"{_numbers(Tensor(tensor.name, tensor.datatype, tensor.shape, raw=tensor.data).array.reshape(-1))}"'


def _numbers(values: Any) -> str:
    """Return an array of numbers in their shortest form; BF16 and FP16 as FP32."""
    import numpy as np

    if values.dtype == bool:
        values = values.astype(np.uint8)
    elif values.dtype.kind not in "iu" and values.dtype.itemsize == 2:
        values = values.astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return ",".join(map(str, values.tolist()))
    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1]
