"""A ModelConfig as the JSON that GET /config gives: every field in declaration order, defaults included.

Triton prints the proto-JSON form with snake_case names, enums by name and 64-bit integers as numbers; a message field
or a member of a oneof appears only when it is set. Source: triton.md section 1, compared with the real server.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def config_json(config: Message) -> bytes:
    """Return the compact JSON text of `config`."""
    return orjson.dumps(config_object(config))


def config_object(message: Message) -> dict[str, Any]:
    """Return `message` as plain values, field by field."""
    fields: dict[str, Any] = {}
    field: Any  # protobuf has two descriptor classes; only one has types
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if _is_map(field):
            entry = field.message_type.fields_by_name["value"]
            fields[field.name] = {str(key): _value(entry, value[key]) for key in value}
        elif field.is_repeated:
            fields[field.name] = [_value(field, item) for item in value]
        else:
            fields[field.name] = _value(field, value)
    return fields


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _value(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return config_object(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if field.type == FieldDescriptor.TYPE_FLOAT:
        shortest = float(str(np.float32(value)))
        return int(shortest) if shortest.is_integer() else shortest
    return value
