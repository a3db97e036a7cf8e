"""Groups about JSON: depth, shapes, data, parameters, documents and binary lengths that lie."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from slipway.attack import json_corpus as corpus
from slipway.attack.cases import AttackRequest, send_requests
from slipway.attack.group import AttackGroup, AttackRun, Need, NotApplicableError
from slipway.attack.http_client import NoResponseError
from slipway.attack.models import KnownModel

_HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_FLOATS: Final = ("FP32", "FP64")
# What a server may read as a number of another kind.
_ONLY_INTEGERS: Final = ("beyond a double", "NaN", "fractions", "400 digits")


async def _depth(run: AttackRun) -> None:
    good = run.models.good
    deep = corpus.deep()
    cases = {
        "120 lists around an element": AttackRequest(good.infer, corpus.nested(good.document(), 120), refuse=False),
        "a quarter of a million lists around an element": AttackRequest(
            good.infer, corpus.nested(good.document(), corpus.DEEP)
        ),
        "brackets to infer": AttackRequest(good.infer, deep),
        "brackets to the index": AttackRequest("/v2/repository/index", deep),
        "brackets to generate": AttackRequest(f"{good.path}/generate", deep),
        "braces": AttackRequest(good.infer, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "brackets that never close": AttackRequest(good.infer, b"[" * 1_000_000),
    }
    await send_requests(run, cases)


async def _shapes(run: AttackRun) -> None:
    good = run.models.good
    lies = [
        shape for shape in (*corpus.LYING_SHAPES, *corpus.OVERFLOWING_SHAPES) if math.prod(shape) != good.first.count
    ]
    cases = {str(shape)[:40]: AttackRequest(good.infer, good.document(shape=shape)) for shape in lies}
    for text in corpus.SHAPES_OF_OTHER_THINGS:
        cases[text] = AttackRequest(good.infer, corpus.put(good.document(), "shape", text))
    cases["100 000 dimensions"] = AttackRequest(good.infer, corpus.many_dims(good.document()))
    await send_requests(run, cases)


async def _data(run: AttackRun) -> None:
    model = run.numbers
    if model.first.count < 2:
        raise NotApplicableError("the only numeric model found has an input of one element")
    takes_floats = model.first.datatype in _FLOATS
    cases = {
        name: AttackRequest(
            model.infer,
            corpus.put(model.document(), "data", text),
            refuse=not (takes_floats and name in _ONLY_INTEGERS),
        )
        for name, text in corpus.unfit_data(model.first.count).items()
    }
    await send_requests(run, cases)


async def _datatypes(run: AttackRun) -> None:
    good = run.models.good
    others = [name for name in ("INT64", "FP64", "BYTES", "BOOL", "UINT8") if name != good.first.datatype]
    cases = {
        str(name): AttackRequest(good.infer, good.document(datatype=name))
        for name in (*others, "INT65", "fp32", "", None, 7, "TYPE_FP32", "FP32" * 1000)
    }
    await send_requests(run, cases)


async def _broken(run: AttackRun) -> None:
    good = run.models.good
    cases = {name: AttackRequest(good.infer, body) for name, body in corpus.broken_documents(good.document()).items()}
    listed = good.document()["inputs"]
    cases |= {
        "inputs that are an object": AttackRequest(good.infer, {"inputs": {"0": listed[0]}}),
        "no inputs": AttackRequest(good.infer, {"inputs": []}),
        "an input that is a number": AttackRequest(good.infer, {"inputs": [1]}),
        "something after the document": AttackRequest(good.infer, json.dumps({"inputs": listed}).encode() + b"}"),
    }
    await send_requests(run, cases)


async def _duplicates(run: AttackRun) -> None:
    good = run.models.good
    first = good.first.entry()
    outputs = [{"name": name} for name in good.outputs[:1]] * 2
    blob = good.first.raw
    text = json.dumps(good.document(parameters={"binary_data_size": len(blob)})).encode()
    cases = {
        "an input twice": AttackRequest(good.infer, good.with_first(first, first)),
        "data twice": AttackRequest(good.infer, text + blob, {_HEADER_LENGTH: str(len(text))}),
        "a key twice": AttackRequest(
            good.infer, b'{"inputs":[],' + json.dumps(good.document()).encode()[1:], refuse=False
        ),
        "an input that the model does not have": AttackRequest(
            good.infer, good.with_first(first, {**first, "name": "slipway-attack"})
        ),
        "an output that the model does not have": AttackRequest(
            good.infer, {**good.document(), "outputs": [{"name": "slipway-attack"}]}
        ),
    }
    if outputs:
        cases["an output twice"] = AttackRequest(good.infer, {**good.document(), "outputs": outputs})
    await send_requests(run, cases)


async def _numbers(run: AttackRun) -> None:
    good = run.models.good
    cases = {
        f"{digits} digits as {field}": AttackRequest(
            good.infer,
            corpus.with_long_number(good.document(), field, number),
            refuse=field in ("shape", "size"),
        )
        for field in corpus.NUMBER_FIELDS
        for digits, number in corpus.LONG_NUMBERS.items()
    }
    await send_requests(run, cases)


async def _parameters(run: AttackRun) -> None:
    good = run.models.good
    cases: dict[str, AttackRequest] = {
        str(parameters): AttackRequest(good.infer, {**good.document(), "parameters": parameters}, refuse=False)
        for parameters in corpus.MISUSED_PARAMETERS
    }
    for name, value in _other_parameters().items():
        cases[name] = AttackRequest(good.infer, {**good.document(), "parameters": value})
    await send_requests(run, cases)


def _other_parameters() -> Mapping[str, Any]:
    """Return what cannot be the parameters of a request."""
    return {"a list as parameters": [1], "a text as parameters": "x", "a number as parameters": 7}


async def _binary(run: AttackRun) -> None:
    good = run.models.good
    await _takes_binary(run, good)
    blob = good.first.raw
    text = json.dumps(_binary_document(good, len(blob))).encode()
    cases = {
        f"a header of {length[:20] or 'no'} bytes": AttackRequest(good.infer, text + blob, {_HEADER_LENGTH: length})
        for length in corpus.LYING_HEADER_LENGTHS
        if length.strip()
    }
    for change in (-1, 1):
        sent = blob[:change] if change < 0 else blob + b"\0"
        cases[f"{change:+d} byte"] = AttackRequest(good.infer, text + sent, {_HEADER_LENGTH: str(len(text))})
    for size in (-1, 0, len(blob) - 1, len(blob) + 1, 2**31, 2**32 + len(blob), 2**63 - 1, 2**64 + len(blob), 1.5, "1"):
        lie = json.dumps(_binary_document(good, size)).encode()
        cases[f"binary_data_size {size!r}"] = AttackRequest(good.infer, lie + blob, {_HEADER_LENGTH: str(len(lie))})
    await send_requests(run, cases)


async def _strings(run: AttackRun) -> None:
    model = run.text
    await _takes_binary(run, model)
    if len(model.first.shape) > 2:
        raise NotApplicableError("the BYTES model found has more than two dimensions")
    cases = {}
    for number, (raw, shape) in enumerate(corpus.LYING_STRINGS):
        sizes = shape if len(model.first.shape) == 2 else shape[1:]
        entry = {**_binary_entry(model, len(raw)), "shape": sizes}
        text = json.dumps(model.with_first(entry)).encode()
        cases[f"{number}: {raw[:8]!r}"] = AttackRequest(model.infer, text + raw, {_HEADER_LENGTH: str(len(text))})
    await send_requests(run, cases)


async def _takes_binary(run: AttackRun, model: KnownModel) -> None:
    """Raise `NotApplicableError` if the server does not take the good request in binary form."""
    blob = model.first.raw
    text = json.dumps(_binary_document(model, len(blob))).encode()
    try:
        response = await run.http.post(model.infer, text + blob, {_HEADER_LENGTH: str(len(text))})
    except NoResponseError:
        raise NotApplicableError("the server does not take binary tensors") from None
    if response.status != 200:
        raise NotApplicableError(f"the server does not take binary tensors (status {response.status})")


def _binary_document(model: KnownModel, size: object) -> dict[str, Any]:
    return model.with_first(_binary_entry(model, size))


def _binary_entry(model: KnownModel, size: object) -> dict[str, Any]:
    first = model.first
    parameters = {"binary_data_size": size}
    return {"name": first.name, "datatype": first.datatype, "shape": list(first.shape), "parameters": parameters}


GROUPS: Final = (
    AttackGroup(
        25,
        "json-depth",
        "lists and objects nested 120 to a million levels deep",
        "CWE-674: a parser that calls itself ends the process",
        "an error; 120 levels may be read",
        _depth,
    ),
    AttackGroup(
        26,
        "json-shapes",
        "shapes whose product overflows, negative, absurd and 100 000 dimensions, shapes that are not numbers",
        "CWE-190: a size is computed without overflow before memory is allocated or read",
        "an error",
        _shapes,
        kept_mib=64,
    ),
    AttackGroup(
        27,
        "json-data",
        "too few, too many and ragged elements, strings, fractions, NaN, 1e400 and 400 digits as data",
        "RFC 8259, sections 3 and 6; KServe v2, Tensor Data",
        "an error; a model of floats may take numbers of any form",
        _data,
        (Need.NUMBERS,),
    ),
    AttackGroup(
        28,
        "json-datatypes",
        "datatypes other than the model's, and names that are not datatypes",
        "KServe v2, Tensor Data Types: bytes must not be read as another type",
        "an error",
        _datatypes,
    ),
    AttackGroup(
        29,
        "json-documents",
        "byte order marks, half characters, NUL, invalid UTF-8, cut documents and documents of another form",
        "RFC 8259, section 8; RFC 3629",
        "an error",
        _broken,
    ),
    AttackGroup(
        30,
        "json-duplicates",
        "inputs, outputs, data and keys given twice, and names that the model does not have",
        "RFC 8259, section 4: who checks one and uses the other is deceived",
        "an error; a key given twice may be read",
        _duplicates,
    ),
    AttackGroup(
        31,
        "json-numbers",
        "numbers of 30, 400 and 5001 digits in every field that takes one",
        "CVE-2020-10735: reading digits can cost the square of their number",
        "a response; an error where it is a size",
        _numbers,
    ),
    AttackGroup(
        32,
        "json-parameters",
        "parameters of the wrong type, negative, beyond 64 bits, nested, and in Triton's own namespace",
        "KServe v2, Parameters: a text, a number or a boolean",
        "a response; an error where they are not an object",
        _parameters,
    ),
    AttackGroup(
        33,
        "binary-lengths",
        "Inference-Header-Content-Length and binary_data_size that lie, bytes too few and too many",
        "Triton's binary tensor data extension: the lengths have to add up",
        "an error",
        _binary,
    ),
    AttackGroup(
        34,
        "binary-strings",
        "BYTES elements whose lengths point beyond the tensor, overflow, or do not match the shape",
        "CWE-125: a length from the wire is checked before it is followed",
        "an error",
        _strings,
        (Need.STRINGS,),
    ),
)
