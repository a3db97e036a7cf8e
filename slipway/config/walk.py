"""Walk the fields of a protobuf message: those that exist, and those that a given message sets. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from slipway.problems import FieldPath, Named, Step


def known_fields(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every field, parents before their parts; the entries of a map are its own parts."""
    for field in descriptor.fields:
        name = f"{prefix}{field.name}"
        yield name
        part = _part(field)
        if part is not None:
            yield from known_fields(part, f"{name}.")


def _part(field: FieldDescriptor) -> Descriptor | None:
    """Return the type of the messages in a field, None if it holds plain values."""
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return field.message_type
    return field.message_type.fields_by_name["value"].message_type


def set_fields(message: Message, path: FieldPath = (), name: str = "") -> Iterator[tuple[str, FieldPath]]:
    """Yield the dotted name and the path of every field that `message` sets, parents before their parts."""
    field: Any  # protobuf has two descriptor classes; only one has types
    for field, value in message.ListFields():
        dotted = f"{name}.{field.name}" if name else field.name
        found = parts(field, value) if field.type == FieldDescriptor.TYPE_MESSAGE else []
        if not found:
            yield dotted, (*path, field.name)
        for steps, part in found:
            yield dotted, (*path, field.name, *steps)
            yield from set_fields(part, (*path, field.name, *steps), dotted)


def parts(field: Any, value: Any) -> list[tuple[tuple[Step, ...], Message]]:
    """Return the messages in the value of a field, each with the steps that lead to it."""
    if not field.is_repeated:
        return [((), value)]
    if field.message_type.GetOptions().map_entry:
        entries = [((Named(str(key), "key"), "value"), part) for key, part in value.items()]
        return [(steps, part) for steps, part in entries if isinstance(part, Message)]
    return [((index,), part) for index, part in enumerate(value)]
