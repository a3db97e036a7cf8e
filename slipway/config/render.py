"""A ModelConfig as the JSON that GET /config returns: every field in declaration order, defaults included.

Triton prints the proto-JSON form with snake_case names, enums by name and 64-bit integers as numbers, except for three
rare fields; a message field or a member of a oneof appears only if it is set. Map entries are sorted here; Triton's are
in any order. Source: Triton's `docs/protocol/extension_model_configuration.md`, compared byte for byte with the real
server.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# 64-bit integers that Triton forgets to convert from proto-JSON's strings to numbers.
_QUOTED: Final = frozenset(
    (
        "inference.ModelSequenceBatching.InitialState.dims",
        "inference.ModelOptimizationPolicy.Cuda.GraphSpec.Shape.dim",
        "inference.ModelInstanceGroup.SecondaryDevice.device_id",
    )
)


def config_json(config: Message) -> bytes:
    """Return the compact JSON text of `config`."""
    return orjson.dumps(config_object(config))


def config_object(message: Message) -> dict[str, Any]:
    """Return `message` as plain values, field by field."""
    fields: dict[str, Any] = {}
    field: Any  # protobuf has two descriptor classes; only one has types
    for field in sorted(message.DESCRIPTOR.fields, key=_is_late):
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if _is_map(field):
            entry = field.message_type.fields_by_name["value"]
            fields[field.name] = {str(key): _value(entry, value[key]) for key in sorted(value)}
        elif field.is_repeated:
            fields[field.name] = [_value(field, item) for item in value]
        else:
            fields[field.name] = _value(field, value)
    return fields


def _is_late(field: Any) -> bool:
    """Return whether Triton prints the field after the others, as it does a plain value in a oneof."""
    return field.containing_oneof is not None and field.message_type is None


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _value(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return config_object(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _shortest(value)
    return str(value) if field.full_name in _QUOTED else value


def _shortest(value: float) -> int | float:
    """Return a 32-bit float as the number of its shortest text: whole numbers of up to six digits become integers."""
    text = f"{value:.6g}"
    if np.float32(text) != np.float32(value):
        text = f"{value:.9g}"
    return int(text) if text.removeprefix("-").isdigit() and text != "-0" else float(text)
