"""The changes that a fuzz makes to an HTTP request: to its document, its bytes, its headers and its path.

Each is deterministic in its own random numbers and does nothing where it does not apply, so that a shrinker can leave
any of them out.
"""

from __future__ import annotations

import copy
import gzip
import zlib
from collections.abc import Callable
from random import Random

from tests.reference.fuzz.documents import Literal, Members, members, places
from tests.reference.fuzz.http_draft import HttpDraft
from tests.reference.fuzz.values import LITERALS, MISSPELT, NAMES, ODD_NUMBERS, SIZES, TEXTS, nested, odd
from tests.reference.models import TYPES

Change = Callable[[HttpDraft, Random], None]
DATATYPES = (*TYPES, "BF16", "FP33", "fp32", "TYPE_FP32", "")
FIELDS = ("name", "datatype", "shape", "data", "parameters")
RESERVED = (
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "priority",
    "timeout",
    "binary_data_output",
    "triton_x",
    "triton_enable_empty_final_response",
    "headers",
    "color",
    "",
)
MODEL_PARTS = (
    "",
    "nosuch",
    "PAIR",
    "pair%20",
    "p%61ir",
    "%2e%2e",
    "pair?x=1",
    "a%2Fb",
    "gr%C3%BC",
    "%",
    "pair;x",
    "%00",
)
VERSIONS = (
    "0",
    "01",
    "1",
    "2",
    "3",
    "9",
    "-1",
    "+1",
    "1.0",
    "latest",
    "",
    "18446744073709551616",
    "%31",
    "1%20",
    "9" * 30,
)


def anywhere(draft: HttpDraft, rng: Random) -> None:
    """Replace any value."""
    if found := list(places(draft.document)):
        rng.choice(found).value = odd(rng)


def literal(draft: HttpDraft, rng: Random) -> None:
    """Replace a number by one that JSON or 64 bits do not have."""
    found = [each for each in places(draft.document) if isinstance(each.value, int | float)]
    if found:
        rng.choice(found).value = rng.choice(LITERALS)


def misspelt(draft: HttpDraft, rng: Random) -> None:
    """Replace a value by text that is not JSON."""
    if found := list(places(draft.document)):
        rng.choice(found).value = rng.choice(MISSPELT)


def twice(draft: HttpDraft, rng: Random) -> None:
    """Give a member of any object twice."""
    objects = [draft.document, *(each.value for each in places(draft.document) if isinstance(each.value, Members))]
    if full := [each for each in objects if each]:
        target = rng.choice(full)
        key, value = rng.choice(target)
        target.append((key, value if rng.random() < 0.5 else odd(rng)))


def unknown(draft: HttpDraft, rng: Random) -> None:
    """Add a member that nobody knows to any object."""
    objects = [draft.document, *(each.value for each in places(draft.document) if isinstance(each.value, Members))]
    rng.choice(objects).append((rng.choice(NAMES), odd(rng)))


def lost(draft: HttpDraft, rng: Random) -> None:
    """Remove a member of any object."""
    objects = [draft.document, *(each.value for each in places(draft.document) if isinstance(each.value, Members))]
    if full := [each for each in objects if each]:
        target = rng.choice(full)
        del target[rng.randrange(len(target))]


def top_level(draft: HttpDraft, rng: Random) -> None:
    """Set a member of the document to any value."""
    draft.document.put(rng.choice(("id", "inputs", "outputs", "parameters")), odd(rng))


def field(draft: HttpDraft, rng: Random) -> None:
    """Set a field of an input to any value."""
    if inputs := draft.inputs():
        rng.choice(inputs).put(rng.choice(FIELDS), odd(rng))


def shape(draft: HttpDraft, rng: Random) -> None:
    """Change, add or drop a dimension."""
    shapes = [each.get("shape") for each in draft.inputs()]
    shapes = [each for each in shapes if isinstance(each, list) and not isinstance(each, Members)]
    if not shapes:
        return
    target = rng.choice(shapes)
    match rng.randrange(4):
        case 0:
            target.insert(rng.randint(0, len(target)), rng.choice(SIZES))
        case 1 if target:
            del target[rng.randrange(len(target))]
        case _ if target:
            target[rng.randrange(len(target))] = rng.choice(SIZES)


def data(draft: HttpDraft, rng: Random) -> None:
    """Change the number, the nesting or the kind of the elements of an input."""
    found = [each.get("data") for each in draft.inputs()]
    found += [value for _, value in draft.document] if not draft.inputs() else []
    lists = [each for each in found if isinstance(each, list) and not isinstance(each, Members)]
    if not lists:
        return
    target = rng.choice(lists)
    match rng.randrange(5):
        case 0:
            target.append(target[0] if target else 1)
        case 1 if target:
            target.pop()
        case 2 if target:
            target[rng.randrange(len(target))] = odd(rng)
        case 3 if target:
            target[-1] = [target[-1]]
        case _:
            target[:] = [list(target)]


def datatype(draft: HttpDraft, rng: Random) -> None:
    """Claim another datatype."""
    if inputs := draft.inputs():
        rng.choice(inputs).put("datatype", rng.choice(DATATYPES))


def name(draft: HttpDraft, rng: Random) -> None:
    """Rename an input or a requested output."""
    if named := draft.inputs() + draft.outputs():
        known = [each.name for each in (*draft.signature.inputs, *draft.signature.outputs)] if draft.signature else []
        rng.choice(named).put("name", rng.choice((*NAMES, *known)))


def entries(draft: HttpDraft, rng: Random) -> None:
    """Repeat, remove, or reorder inputs or outputs."""
    found = draft.document.get(rng.choice(("inputs", "outputs")))
    if not isinstance(found, list) or isinstance(found, Members) or not found:
        return
    match rng.randrange(3):
        case 0:
            found.append(copy.deepcopy(rng.choice(found)))
        case 1:
            del found[rng.randrange(len(found))]
        case _:
            found.reverse()


def input_parameters(draft: HttpDraft, rng: Random) -> None:
    """Set a parameter of an input: sizes that lie, sources that contradict each other."""
    if not (inputs := draft.inputs()):
        return
    target = rng.choice(inputs)
    given = target.get("parameters")
    parameters = given if isinstance(given, Members) else Members()
    key = rng.choice(("binary_data_size", "binary_data_size", "shared_memory_region", "shared_memory_byte_size", "x"))
    old = parameters.get(key)
    lies = (old + rng.choice((-1, 1, 4, -4)),) if isinstance(old, int) else ()
    parameters.put(key, rng.choice((*lies, *lies, rng.choice(ODD_NUMBERS), odd(rng))))
    target.put("parameters", parameters)


def output_parameters(draft: HttpDraft, rng: Random) -> None:
    """Request outputs, with parameters of any value."""
    if draft.signature is None:
        return
    tensor = rng.choice(draft.signature.outputs)
    keys = ("binary_data", "shared_memory_region", "shared_memory_byte_size", "x")
    keys = keys if _lethal_to_classify(draft, tensor.datatype) else ("classification", *keys)
    key = rng.choice(keys)
    value = rng.choice((1, 2, 3, 0, -1, 2**31, 2**32, True, False, odd(rng)))
    draft.document.put("outputs", [members(name=tensor.name, parameters=members(**{key: value}))])


# The reference server dies of a classification of strings.
def _lethal_to_classify(draft: HttpDraft, datatype: str) -> bool:
    return datatype == "BYTES" or draft.signature is None


def request_parameters(draft: HttpDraft, rng: Random) -> None:
    """Set a reserved parameter of the request."""
    given = draft.document.get("parameters")
    parameters = given if isinstance(given, Members) else Members()
    value = rng.choice((0, 1, -1, 2**31, 2**63, 2**64, True, "text", "x" * 129, "東" * 50, odd(rng)))
    parameters.put(rng.choice(RESERVED), value)
    draft.document.put("parameters", parameters)


def deep(draft: HttpDraft, rng: Random) -> None:
    """Nest a value near the limit of either server."""
    if found := list(places(draft.document)):
        rng.choice(found).value = nested(rng.choice((90, 95, 96, 97, 98, 99, 100, 101, 150)))


def text(draft: HttpDraft, rng: Random) -> None:
    """Replace a string by an unusual one: escapes, surrogates, other planes."""
    odd_texts = (*TEXTS, "\ud800", "\udc00x", "\ufeff", "\x7f", "\u2028", "a" * 5000)
    literals = tuple(
        map(Literal, (r'"\ud800"', r'"\u0000"', r'"\x"', r'"\u00e9"', r'"\ud83d\ude00"', '"\t"', '"\x01"'))
    )
    if found := [each for each in places(draft.document) if isinstance(each.value, str)]:
        rng.choice(found).value = rng.choice((*odd_texts, *literals))


def blob(draft: HttpDraft, rng: Random) -> None:
    """Cut, lengthen or damage a binary tensor."""
    if not draft.blobs:
        return
    place = rng.randrange(len(draft.blobs))
    value = draft.blobs[place]
    at = rng.randrange(len(value) + 1)
    draft.blobs[place] = rng.choice(
        (value[:at], value + b"\0", value * 2, value[:at] + b"\xff\xff\xff\x7f" + value[at + 4 :], value[4:], b"")
    )


def json_bytes(draft: HttpDraft, rng: Random) -> None:
    """Damage or wrap the JSON's bytes."""
    part, byte = rng.random(), rng.randrange(256)
    draft.edits.append(
        rng.choice(
            (
                lambda text: b"\xef\xbb\xbf" + text,
                lambda text: b" \r\n\t" + text + b" \n",
                lambda text: text + b"\0",
                lambda text: text + b"{}",
                lambda text: text[: int(part * len(text))],
                lambda text: text[: (at := int(part * len(text)))] + bytes([byte]) + text[at + 1 :],
                lambda text: text[: (at := int(part * len(text)))] + bytes([byte]) + text[at:],
                lambda text: text.decode("utf-8", "replace").encode("utf-16"),
                lambda text: b"/* comment */" + text,
                lambda text: text[:-1] + b",}",
                lambda _: b"",
            )
        )
    )


def header_length(draft: HttpDraft, rng: Random) -> None:
    """Send a header length, true or not."""
    offset = rng.choice((0, 0, 1, -1, 7, -1000, 100000))
    draft.lengths.append(
        rng.choice(
            (
                lambda size: str(size + offset),
                lambda size: f"{size} ",
                lambda size: f"+{size}",
                lambda size: f"0{size}",
                lambda size: f"{size}.0",
                hex,
                lambda _: "0",
                lambda _: "-1",
                lambda _: "",
                lambda _: "9" * 25,
            )
        )
    )


def encoding(draft: HttpDraft, rng: Random) -> None:
    """Compress the body, or claim to."""
    method = rng.choice(("gzip", "deflate", "identity", "br", "GZIP", "gzip ", "gzip, deflate", ""))
    draft.headers["Content-Encoding"] = method
    draft.wraps.append(rng.choice((gzip.compress, zlib.compress, bytes)))


def header(draft: HttpDraft, rng: Random) -> None:
    """Send a header that is unusual, or usual with an unusual value."""
    key, value = rng.choice(
        (
            ("Content-Type", "text/plain"),
            ("Content-Type", ""),
            ("Accept", "application/xml"),
            ("Accept-Encoding", "gzip"),
            ("Accept-Encoding", "deflate"),
            ("Accept-Encoding", "br"),
            ("Accept-Encoding", "gzip;q=0"),
            ("Accept-Encoding", "deflate, gzip"),
            ("Accept-Encoding", "*"),
            ("X-Odd", "x" * 2000),
            ("X-Odd", " padded \t"),
            ("triton-request-id", "5"),
            ("Range", "bytes=0-5"),
            ("Expect", "100-continue"),
        )
    )
    draft.headers[key] = value


def path(draft: HttpDraft, rng: Random) -> None:
    """Change the path: the model, its version, the route, slashes."""
    match rng.randrange(6):
        case 0 if len(draft.path) > 3:
            draft.path[3] = rng.choice(MODEL_PARTS)
        case 1 | 2:
            draft.path[4:-1] = ["versions", rng.choice(VERSIONS)]
        case 3:
            draft.path.append(rng.choice(("", "x", "?x=1", "infer")))
        case 4:
            draft.path.insert(rng.randint(1, len(draft.path)), "")
        case _:
            draft.path[-1] = rng.choice(
                ("infer", "generate", "generate_stream", "stats", "config", "Infer", "infer?a=b")
            )


def method(draft: HttpDraft, rng: Random) -> None:
    """Use another method."""
    draft.method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST"))


ANY: tuple[Change, ...] = (
    anywhere,
    literal,
    misspelt,
    twice,
    unknown,
    lost,
    deep,
    text,
    json_bytes,
    encoding,
    header,
    path,
    method,
)
INFER: tuple[Change, ...] = (
    *ANY,
    top_level,
    field,
    field,
    shape,
    shape,
    data,
    data,
    datatype,
    name,
    entries,
    input_parameters,
    input_parameters,
    output_parameters,
    output_parameters,
    request_parameters,
    request_parameters,
    blob,
    header_length,
)
GENERATE: tuple[Change, ...] = (*ANY, anywhere, data, data, literal)
