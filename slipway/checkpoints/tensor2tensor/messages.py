"""TensorFlow's protobuf messages that its data files and checkpoints are made of, as classes of the protobuf library.

A table of facts: names, numbers and types of tensorflow/core/example/{example,feature}.proto and of
tensorflow/core/protobuf/tensor_bundle.proto. Knows nothing about files.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from slipway.errors import invalid

_PACKAGE: Final = "tensorflow"
_TYPES: Final = {
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "string": FieldDescriptorProto.TYPE_STRING,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "fixed32": FieldDescriptorProto.TYPE_FIXED32,
}
# Message: field number -> (name, type); `*` marks a repeated field and `|` a member of the one choice of the message.
_MESSAGES: Final = {
    "BytesList": {1: ("value", "*bytes")},
    "FloatList": {1: ("value", "*float")},
    "Int64List": {1: ("value", "*int64")},
    "Feature": {
        1: ("bytes_list", "|BytesList"),
        2: ("float_list", "|FloatList"),
        3: ("int64_list", "|Int64List"),
    },
    "NamedFeature": {1: ("key", "string"), 2: ("value", "Feature")},  # an entry of a map
    "Features": {1: ("feature", "*NamedFeature")},
    "Example": {1: ("features", "Features")},
    "Version": {1: ("producer", "int32"), 2: ("min_consumer", "int32")},
    "BundleHeader": {1: ("num_shards", "int32"), 2: ("endianness", "int32"), 3: ("version", "Version")},
    "Dimension": {1: ("size", "int64"), 2: ("name", "string")},
    "Shape": {2: ("dim", "*Dimension"), 3: ("unknown_rank", "bool")},
    "Extent": {1: ("start", "int64"), 2: ("length", "int64")},
    "Slice": {1: ("extent", "*Extent")},
    "BundleEntry": {
        1: ("dtype", "int32"),
        2: ("shape", "Shape"),
        3: ("shard_id", "int32"),
        4: ("offset", "int64"),
        5: ("size", "int64"),
        6: ("crc32c", "fixed32"),
        7: ("slices", "*Slice"),
    },
}


def new_message(name: str, **fields: Any) -> Any:
    """Return a message of a type in the table, with values for some of its fields."""
    return _message_class(name)(**fields)


def parse_message(name: str, data: bytes) -> Any:
    """Return the message of a type in the table that `data` encodes; raise INVALID_ARG if it does not."""
    try:
        return _message_class(name).FromString(data)
    except DecodeError:
        raise invalid(f"{len(data)} bytes are not a valid {name} message") from None


@cache
def _message_class(name: str) -> Any:
    return GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="tensorflow_files.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in fields.items():
            _add_field(message, number, field, kind)
    pool = DescriptorPool()  # its own, so that TensorFlow's messages may exist beside these
    pool.Add(file)
    return pool


def _add_field(message: DescriptorProto, number: int, name: str, kind: str) -> None:
    kind_name = kind.lstrip("*|")
    field = message.field.add(name=name, number=number)
    field.label = FieldDescriptorProto.LABEL_REPEATED if kind[0] == "*" else FieldDescriptorProto.LABEL_OPTIONAL
    if kind_name in _TYPES:
        field.type = _TYPES[kind_name]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind_name}"
    if kind[0] == "|":
        if not message.oneof_decl:
            message.oneof_decl.add(name="kind")
        field.oneof_index = 0
