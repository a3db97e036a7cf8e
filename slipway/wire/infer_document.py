"""The JSON part of an infer request, as typed structs.

`read_document` decodes straight into the structs. A document that does not fit them is parsed again without types:
either it is valid after all (its data contains NaN), or the error names the first wrong field with Triton's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from slipway.core.large_work import LARGE
from slipway.core.request import InferRequest
from slipway.errors import SlipwayError, internal, invalid
from slipway.wire.duplicate_keys import count_colons, refuse_duplicate_keys
from slipway.wire.json_text import (
    MAX_UNSIGNED,
    MAX_UNTYPED_BYTES,
    NON_ARRAY,
    NON_BOOLEAN,
    NON_OBJECT_MEMBERS,
    NON_STRING,
    NON_UNSIGNED,
    NOT_JSON,
    missing,
    parse,
    refuse_lone_surrogates,
    unparsable,
)
from slipway.wire.parameters import apply_parameters

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
NO_DATA: Final = msgspec.Raw(b"")


class InputParameters(msgspec.Struct, gc=False):
    """`parameters` of one input; -1 and UNSET mean "not given", which null does not."""

    binary_data_size: Unsigned = -1
    shared_memory_region: str | msgspec.UnsetType = msgspec.UNSET
    shared_memory_offset: Unsigned = -1
    shared_memory_byte_size: Unsigned = -1


class InferInput(msgspec.Struct, gc=False):
    """One entry of `inputs`; `data` is its text, or its value if the document was parsed without types."""

    name: str
    shape: tuple[Unsigned, ...]
    datatype: str
    data: msgspec.Raw = NO_DATA
    parameters: InputParameters | None = None


class OutputParameters(msgspec.Struct, gc=False):
    """`parameters` of one requested output."""

    binary_data: bool | msgspec.UnsetType = msgspec.UNSET
    classification: Unsigned = 0
    shared_memory_region: str | msgspec.UnsetType = msgspec.UNSET
    shared_memory_offset: Unsigned = -1
    shared_memory_byte_size: Unsigned = -1


class InferOutput(msgspec.Struct, gc=False):
    """One entry of `outputs`."""

    name: str
    parameters: OutputParameters | None = None


class InferDocument(msgspec.Struct, gc=False):
    """The whole JSON part; `parameters` keep their JSON values."""

    inputs: list[InferInput]
    id: str = ""
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    outputs: list[InferOutput] = []


class DocumentHead(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What a client writes before the tensors, and what may differ from one request to the next."""

    id: str = ""
    parameters: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class LargeInput(msgspec.Struct, gc=False):
    """One entry of the `inputs` of a large document; the numbers of its shape are not read with it."""

    name: str
    shape: msgspec.Raw
    datatype: str
    data: msgspec.Raw = NO_DATA
    parameters: InputParameters | None = None


class LargeDocument(msgspec.Struct, gc=False):
    """A large document: everything that may become many objects is left as text."""

    inputs: list[LargeInput]
    id: str = ""
    parameters: msgspec.Raw = NO_DATA
    outputs: msgspec.Raw = NO_DATA


_LARGE_DECODER: Final = msgspec.json.Decoder(LargeDocument)
_SHAPE: Final = msgspec.json.Decoder(tuple[Unsigned, ...])
_PARAMETERS: Final = msgspec.json.Decoder(dict[str, Any])
_OUTPUTS: Final = msgspec.json.Decoder(list[InferOutput])
_DECODER: Final = msgspec.json.Decoder(InferDocument)
_HEAD: Final = msgspec.json.Decoder(DocumentHead)
_TENSORS: Final = b',"inputs":['  # not inside a string: there, a backslash would precede the quotation mark
_MAX_INPUTS: Final = 1 << 17  # of a large document


def read_document(text: bytes | memoryview) -> InferDocument:
    """Return the parsed JSON part of an infer request; raise `SlipwayError` with Triton's text."""
    try:
        if len(text) <= LARGE:
            text = bytes(text)  # once, instead of in each check below
            document = _DECODER.decode(text)
        else:
            document = _read_large(text)
    except (*NOT_JSON, RecursionError):
        untyped = parse(text)
        refuse_duplicate_keys(text)
        return _untyped_document(untyped)
    refuse_lone_surrogates(text)
    if count_colons(text) != _keys(document):  # colons in strings, keys that are ignored, or keys given twice
        refuse_duplicate_keys(text)
    return document


def split_document(text: bytes) -> tuple[bytes, bytes]:
    """Return what is before the inputs of a document, as an object, and the rest, which begins with a comma; b"" twice
    if nothing is before them. If `read_head` accepts the first, and `is_only_tensors` the rest, the document is valid.
    """
    at = text.find(_TENSORS)
    return (text[:at] + b"}", text[at:]) if at > 0 else (b"", b"")


def read_head(head: bytes) -> DocumentHead | None:
    """Return the first part of a document, None if only the whole document says what is wrong with it, or right."""
    try:
        read = _HEAD.decode(head)
    except (*NOT_JSON, RecursionError):
        return None
    keys = bool(read.id) + (0 if read.parameters is msgspec.UNSET else 1 + len(read.parameters))
    return read if keys and count_colons(head) == keys and b"\\u" not in head else None


def is_only_tensors(rest: bytes) -> bool:
    """Return whether the rest of a valid document has only inputs and outputs, and no key that is ignored or given
    twice."""
    document = b"{" + rest[1:]
    read = read_document(document)
    return not read.id and read.parameters is msgspec.UNSET and count_colons(document) == _keys(read)


def _read_large(text: bytes | memoryview) -> InferDocument:
    """Return a document whose tensor data may be large, but not the rest; raise `SlipwayError` if that is."""
    large = _LARGE_DECODER.decode(text)
    rest = [large.parameters, large.outputs, *(entry.shape for entry in large.inputs)]
    if sum(len(memoryview(each)) for each in rest) > MAX_UNTYPED_BYTES or len(large.inputs) > _MAX_INPUTS:
        raise invalid(
            f"the shapes, parameters and outputs of a request exceed {MAX_UNTYPED_BYTES} bytes of JSON, "
            f"or it has more than {_MAX_INPUTS} inputs"
        )
    return InferDocument(
        inputs=[
            InferInput(entry.name, _SHAPE.decode(entry.shape), entry.datatype, entry.data, entry.parameters)
            for entry in large.inputs
        ],
        id=large.id,
        parameters=msgspec.UNSET if large.parameters is NO_DATA else _PARAMETERS.decode(large.parameters),
        outputs=[] if large.outputs is NO_DATA else _OUTPUTS.decode(large.outputs),
    )


def _keys(document: InferDocument) -> int:
    """Return how many keys were read: if the text has no more colons than that, no key appears twice."""
    count = 1 + bool(document.id) + bool(document.outputs)
    if document.parameters is not msgspec.UNSET:
        count += 1 + len(document.parameters)
    for entry in document.inputs:
        count += 3 + (entry.data is not NO_DATA)
        if entry.parameters is not None:
            count += 1 + (entry.parameters.binary_data_size >= 0) + _placing_keys(entry.parameters)
    for output in document.outputs:
        count += 1
        if output.parameters is not None:
            count += 1 + (output.parameters.binary_data is not msgspec.UNSET) + bool(output.parameters.classification)
            count += _placing_keys(output.parameters)
    return count


def _placing_keys(parameters: InputParameters | OutputParameters) -> int:
    if parameters.shared_memory_region is msgspec.UNSET:
        return 0
    return 1 + (parameters.shared_memory_offset >= 0) + (parameters.shared_memory_byte_size >= 0)


def _untyped_document(document: object) -> InferDocument:
    members = document if isinstance(document, dict) else {}
    identifier = members.get("id", "")
    if not isinstance(identifier, str):
        raise unparsable("id", NON_STRING)
    parameters = members.get("parameters", msgspec.UNSET)
    if "parameters" in members and not isinstance(parameters, dict):
        raise internal(f"failed to get request params.: {NON_OBJECT_MEMBERS}")
    if "parameters" in members:
        apply_parameters(InferRequest(""), parameters)  # Triton reads them before the inputs
    return InferDocument(
        inputs=[_input(entry) for entry in _array(members, "inputs", required=True)],
        id=identifier,
        parameters=parameters,
        outputs=[_output(entry) for entry in _array(members, "outputs", required=False)],
    )


def check_one_source(given: Sequence[str]) -> None:
    """Raise INVALID_ARG unless an input says in exactly one way where its data is."""
    if len(given) == 1:
        return
    named = " ".join(f"'{field}'" for field in given)
    raise invalid(
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
        "'shared_memory_region' in 'parameters'. But " + (f"set {named}" if given else "no field is set")
    )


def _array(members: dict[str, Any], field: str, *, required: bool) -> list[Any]:
    if field not in members:
        if required:
            raise unparsable(field, missing(field))
        return []
    if not isinstance(members[field], list):
        raise unparsable(field, NON_ARRAY)
    entries: list[Any] = members[field]
    return entries


def _input(entry: object) -> InferInput:
    members = entry if isinstance(entry, dict) else {}
    name = _string(members, "name")
    if "shape" not in members:
        raise unparsable("shape", missing("shape"))
    if not isinstance(members["shape"], list):
        raise unparsable("shape", NON_ARRAY)
    shape = tuple(_unsigned("shape", size) for size in members["shape"])
    parameters = _members(members, "parameters")
    check_one_source(
        [
            *(["data"] if "data" in members else []),
            *[key for key in ("binary_data_size", "shared_memory_region") if key in parameters],
        ]
    )
    return InferInput(
        name=name,
        shape=shape,
        datatype=_string(members, "datatype"),
        data=members.get("data", NO_DATA),
        parameters=InputParameters(
            binary_data_size=_optional_unsigned(parameters, "binary_data_size", -1),
            **_shared_memory(parameters),
        ),
    )


def _output(entry: object) -> InferOutput:
    members = entry if isinstance(entry, dict) else {}
    name = _string(members, "name")
    parameters = _members(members, "parameters")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= MAX_UNSIGNED:
        raise not_a_class_count()
    shared_memory = _shared_memory(parameters)
    binary = parameters.get("binary_data", msgspec.UNSET)
    if "binary_data" in parameters and not isinstance(binary, bool):
        raise unparsable("binary_data", NON_BOOLEAN)
    return InferOutput(name, OutputParameters(binary_data=binary, classification=classes, **shared_memory))


def not_a_class_count() -> SlipwayError:
    """Return the error for a `classification` that is not an unsigned integer of 64 bits."""
    return internal(f"Unable to set 'classification': {NON_UNSIGNED}")


def _shared_memory(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the members that name a place in shared memory; only the region decides whether there is one."""
    return {
        "shared_memory_region": _optional_string(parameters, "shared_memory_region"),
        "shared_memory_offset": _optional_unsigned(parameters, "shared_memory_offset", -1),
        "shared_memory_byte_size": _optional_unsigned(parameters, "shared_memory_byte_size", -1),
    }


def _members(members: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the members of an object field; like Triton, ignore a field of another type."""
    value = members.get(field)
    return value if isinstance(value, dict) else {}


def _string(members: dict[str, Any], field: str) -> str:
    if field not in members:
        raise unparsable(field, missing(field))
    value = members[field]
    if not isinstance(value, str):
        raise unparsable(field, NON_STRING)
    return value


def _optional_string(members: dict[str, Any], field: str) -> str | msgspec.UnsetType:
    return _string(members, field) if field in members else msgspec.UNSET


def _unsigned(field: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_UNSIGNED:
        raise unparsable(field, NON_UNSIGNED)
    return value


def _optional_unsigned(members: dict[str, Any], field: str, default: int) -> int:
    return _unsigned(field, members[field]) if field in members else default
