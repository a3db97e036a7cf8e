"""A shell command that asks a served model something, made from its configuration: it works when it is pasted.

Small tensors and texts are JSON. Large ones are zeros, and strings that are not text are base64, both in KServe's
binary form after the JSON. Pure.
"""

from __future__ import annotations

import base64
import shlex
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
from tritonclient.grpc import model_config_pb2

from slipway.datatypes import BY_NAME
from slipway.verify.sample import Input, Sample

_MOST_SHOWN: Final = 64  # elements of a tensor that are written out
_SEQUENCE: Final = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
_JSON: Final = ("-H", "Content-Type: application/json")


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """Where to send a request: `url` is that of the server, `options` are those of curl, such as for a certificate, as
    words of the shell."""

    url: str
    options: tuple[str, ...] = ()

    def curl(self, path: str, *words: str) -> str:
        """Return the command for one path."""
        return " ".join(["curl -s", *self.options, shlex.join([f"{self.url}{path}", *words])])


def curl_command(config: model_config_pb2.ModelConfig, sample: Sample, target: HttpTarget) -> str:
    """Return the command that sends a sample to a model: to `generate_stream` if it may answer more than once, else to
    `infer`."""
    route = f"/v2/models/{quote(config.name, safe='')}"
    if config.model_transaction_policy.decoupled:
        return target.curl(f"{route}/generate_stream", "-N", *_JSON, "-d", _dump(_fields(config, sample)))
    body: dict[str, Any] = {"parameters": _SEQUENCE} if config.HasField("sequence_batching") else {}
    if all(map(_is_shown, sample.inputs)):
        body["inputs"] = [_tensor(each) for each in sample.inputs]
        return target.curl(f"{route}/infer", *_JSON, "-d", _dump(body))
    inputs = sorted(sample.inputs, key=_is_shown, reverse=True)  # the binary ones in the order of their bytes
    body["inputs"] = [_tensor(each) for each in inputs]
    header = _dump(body)
    parts = [f"printf %s {shlex.quote(header)}", *(_bytes(each) for each in inputs if not _is_shown(each))]
    length = f"Inference-Header-Content-Length: {len(header.encode())}"
    return f"{{ {'; '.join(parts)}; }} | " + target.curl(f"{route}/infer", "-H", length, "--data-binary", "@-")


def _fields(config: model_config_pb2.ModelConfig, sample: Sample) -> dict[str, Any]:
    """Return a sample as the fields of a generate request, which adds the batch axis."""
    fields: dict[str, Any] = dict(_SEQUENCE) if config.HasField("sequence_batching") else {}
    for each in sample.inputs:
        values = _values(each)
        fields[each.name] = values[0] if len(values) == 1 else values
    return fields


def _is_shown(given: Input) -> bool:
    """Return whether a tensor is written as JSON."""
    if given.datatype == "BYTES":
        return all(_text(value) is not None for value in given.array.ravel())
    return given.array.size <= _MOST_SHOWN and given.datatype not in ("FP16", "BF16")  # which JSON does not have


def _tensor(given: Input) -> dict[str, Any]:
    head = {"name": given.name, "shape": list(given.array.shape), "datatype": given.datatype}
    if _is_shown(given):
        return head | {"data": _values(given)}
    return head | {"parameters": {"binary_data_size": _size(given)}}


def _values(given: Input) -> list[Any]:
    if given.datatype == "BYTES":
        return [_text(value) or "" for value in given.array.ravel()]
    values: list[Any] = given.array.ravel().tolist()
    return values


def _text(value: Any) -> str | None:
    """Return a string as text, None if it is not."""
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return None


def _size(given: Input) -> int:
    if given.datatype == "BYTES":
        return sum(4 + len(bytes(value)) for value in given.array.ravel())
    return int(given.array.size) * BY_NAME[given.datatype].size


def _bytes(given: Input) -> str:
    """Return the shell command that writes a tensor in binary form."""
    if given.datatype == "BYTES":
        return f"printf %s {base64.b64encode(_serialised(given.array.ravel())).decode()} | base64 -d"
    return f"head -c {_size(given)} /dev/zero"


def _serialised(strings: Iterable[Any]) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in map(bytes, strings))


def _dump(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
