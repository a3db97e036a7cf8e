"""Requests in JSON files, in the format of FasterTransformer's `issue_request.py`.

    {"config": {"protocol": "grpc", "url": "host:port", "model_name": "...", "stream_api": true},
     "request": [{"name": "input_ids", "data": [[1, 2]], "dtype": "uint32"}, ...]}

`config` and all its keys are optional. Knows neither the command line nor a connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.cli.description import InputTensor
from slipway.datatypes import datatype_of
from slipway.errors import invalid
from slipway.foreign_json import parse_foreign

_DEFAULT_MODEL: Final = "fastertransformer"
_CONFIG: Final = {"protocol": str, "url": str, "model_name": str, "stream_api": bool, "verbose": bool}


@dataclass(frozen=True, slots=True)
class RequestFile:
    """One request: the tensors by name, and where to send it ("" if the file does not say)."""

    tensors: dict[str, InputTensor]
    model: str
    protocol: str
    url: str
    streams: bool


def read_request(text: str, changes: str = "") -> RequestFile:
    """Return the request in a JSON text after merging `changes`, JSON of the same form, into it.

    Tensors in `request` are merged by name, everything else key by key. Raise INVALID_ARG if the result is not a
    request.
    """
    content = _object(text, "the request file")
    _refuse_repeated(content, "the request file")
    if changes:
        changing = _object(changes, "--params")
        _refuse_repeated(changing, "--params")
        content = _merged(content, changing)
    config = content.get("config", {})
    if not isinstance(config, dict):
        raise invalid("'config' in the request file is not an object")
    for key, kind in _CONFIG.items():
        if key in config and not isinstance(config[key], kind):
            raise invalid(f"'config.{key}' in the request file is {config[key]!r}; expected a {kind.__name__}")
    tensors = content.get("request")
    if not isinstance(tensors, list) or not tensors:
        raise invalid("'request' in the request file is not a list of tensors")
    return RequestFile(
        dict(_tensor(each) for each in tensors),
        model=config.get("model_name", _DEFAULT_MODEL),
        protocol=config.get("protocol", "http"),
        url=config.get("url", ""),
        streams=config.get("stream_api", False),
    )


def _object(text: str, what: str) -> dict[str, Any]:
    content = parse_foreign(text, f"{what} is not valid JSON")
    if not isinstance(content, dict):
        raise invalid(f"{what} is not a JSON object")
    return content


def _refuse_repeated(content: Mapping[str, Any], what: str) -> None:
    """Raise INVALID_ARG if a tensor occurs twice, of which one would be lost."""
    tensors = content.get("request")
    names = [str(each.get("name")) for each in tensors if isinstance(each, dict)] if isinstance(tensors, list) else []
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise invalid(f"tensor '{repeated[0]}' is given twice in {what}")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _merged(old, value)
        elif key == "request" and isinstance(old, list) and isinstance(value, list):
            result[key] = _merged_tensors(old, value)
        else:
            result[key] = value
    return result


def _merged_tensors(base: list[Any], changes: list[Any]) -> list[Any]:
    by_name = {each.get("name"): each for each in base if isinstance(each, dict)}
    for each in changes:
        if isinstance(each, dict):
            by_name[each.get("name")] = {**by_name.get(each.get("name"), {}), **each}
    return list(by_name.values())


def _tensor(content: Any) -> tuple[str, InputTensor]:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise invalid(f"a tensor in the request file has no name: {str(content)[:80]}")
    name = content["name"]
    missing = [key for key in ("data", "dtype") if key not in content]
    if missing:
        raise invalid(f"tensor '{name}' in the request file lacks {' and '.join(missing)}")
    try:
        array = np.array(content["data"], dtype=np.dtype(content["dtype"]))
    except (TypeError, ValueError, OverflowError) as error:
        text = f"tensor '{name}' in the request file does not contain {content['dtype']} values: {error}"
        raise invalid(text) from None
    datatype = datatype_of(array.dtype)
    if datatype is None:
        raise invalid(f"tensor '{name}' in the request file has dtype {content['dtype']}, which cannot be sent")
    return name, InputTensor(datatype.name, array)
