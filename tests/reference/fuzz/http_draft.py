"""HTTP requests before they are sent: a valid infer or generate request of a model, still open to changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.reference.fuzz.documents import Members, encode, members
from tests.reference.fuzz.signatures import Signature, TensorSignature
from tests.reference.fuzz.values import IDS, number, raw
from tests.reference.http_cases import HttpCase

BINARY_HEADER = "Inference-Header-Content-Length"


@dataclass(slots=True)
class HttpDraft:
    """A request: the document and binary tensors of its body, and what is done to the encoded body and headers."""

    path: list[str]
    document: Members
    signature: Signature | None = None
    method: str = "POST"
    blobs: list[bytes] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    edits: list[Callable[[bytes], bytes]] = field(default_factory=list)  # of the JSON's bytes
    wraps: list[Callable[[bytes], bytes]] = field(default_factory=list)  # of the whole body
    lengths: list[Callable[[int], str]] = field(default_factory=list)  # of the header that says where the JSON ends

    def inputs(self) -> list[Members]:
        """Return the inputs of an infer request that are objects still."""
        found = self.document.get("inputs")
        return [each for each in found if isinstance(each, Members)] if isinstance(found, list) else []

    def outputs(self) -> list[Members]:
        """Return the requested outputs that are objects still."""
        found = self.document.get("outputs")
        return [each for each in found if isinstance(each, Members)] if isinstance(found, list) else []

    def finish(self, name: str) -> HttpCase:
        """Return the request to send."""
        for entry in self.inputs():
            _bound(entry)
        text = encode(self.document)
        for edit in self.edits:
            text = edit(text)
        headers = dict(self.headers)
        if self.blobs or self.lengths:
            length = str(len(text))
            for change in self.lengths:
                length = change(len(text))
            headers[BINARY_HEADER] = length
        body = text + b"".join(self.blobs)
        for wrap in self.wraps:
            body = wrap(body)
        return HttpCase(name, "/".join(self.path), self.method, body, headers)


# The reference server allocates what a shape claims before it reads the data: for minutes, or it dies.
_LARGE, _REFUSED = 2**16, 2**64


def _bound(entry: Members) -> None:
    """Replace sizes that the reference server would try to allocate by one that it refuses."""
    shape = entry.get("shape")
    if isinstance(shape, list) and not isinstance(shape, Members) and any(key == "data" for key, _ in entry):
        for place, size in enumerate(shape):
            if isinstance(size, int) and _LARGE < size < _REFUSED:
                shape[place] = _REFUSED


def draft_infer(rng: Random, signatures: tuple[Signature, ...]) -> HttpDraft:
    """Return a valid infer request to some model."""
    model = rng.choice(signatures)
    path = ["", "v2", "models", model.name, *(["versions", "1"] if rng.random() < 0.1 else []), "infer"]
    draft = HttpDraft(path, Members(), model)
    if rng.random() < 0.3:
        draft.document.put("id", rng.choice(IDS))
    rows = [rng.randint(1, min(3, model.max_batch_size))] if model.max_batch_size else []
    given = [each for each in model.inputs if not each.optional or rng.random() < 0.5]
    draft.document.put("inputs", [_input(draft, each, rows, rng) for each in given])
    if rng.random() < 0.6:
        chosen = rng.sample(model.outputs, rng.randint(1, len(model.outputs)))
        draft.document.put("outputs", [_output(each, rng) for each in chosen])
    if rng.random() < 0.3:
        draft.document.put("parameters", members(**_parameters(rng)))
    return draft


def _input(draft: HttpDraft, tensor: TensorSignature, rows: list[int], rng: Random) -> Members:
    shape = rows + tensor.shape(rng)
    count = 1
    for size in shape:
        count *= size
    values = [number(tensor.name, tensor.datatype, rng) for _ in range(count)]
    entry = members(name=tensor.name, datatype=tensor.datatype, shape=shape)
    if rng.random() < 0.35 or tensor.datatype == "FP16":
        blob = raw(tensor.datatype, values)
        draft.blobs.append(blob)
        entry.put("parameters", members(binary_data_size=len(blob)))
    else:
        entry.put("data", _nested(values, shape) if rng.random() < 0.3 else values)
    return entry


def _nested(values: list[object], shape: list[int]) -> list[object]:
    for size in reversed(shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def _output(tensor: TensorSignature, rng: Random) -> Members:
    entry = members(name=tensor.name)
    if tensor.datatype == "FP16" or rng.random() < 0.3:
        entry.put("parameters", members(binary_data=tensor.datatype == "FP16" or rng.random() < 0.7))
    elif rng.random() < 0.2 and tensor.datatype != "BYTES":  # see LETHAL
        entry.put("parameters", members(classification=rng.randint(1, 5)))
    return entry


def _parameters(rng: Random) -> dict[str, object]:
    return rng.choice(
        (
            {},
            {"color": rng.choice(("red", 3, True, -7, 1.5))},
            {"sequence_id": rng.choice((1, 7, "text")), "sequence_start": rng.random() < 0.5},
            {"sequence_end": True, "sequence_id": 2**40},
            {"binary_data_output": rng.random() < 0.5},
            {"timeout": rng.choice((0, 10_000_000))},
            {"priority": 0},
        )
    )


def draft_generate(rng: Random, signatures: tuple[Signature, ...]) -> HttpDraft:
    """Return a valid generate or generate_stream request."""
    model = rng.choice(signatures)
    path = ["", "v2", "models", model.name, rng.choice(("generate", "generate_stream"))]
    draft = HttpDraft(path, Members(), model)
    for tensor in model.inputs:
        if tensor.optional and rng.random() < 0.5:
            continue
        count = 1
        for size in tensor.shape(rng):
            count *= size
        values = [number(tensor.name, tensor.datatype, rng) for _ in range(count)]
        draft.document.put(tensor.name, values[0] if count == 1 and rng.random() < 0.5 else values)
    if rng.random() < 0.3:
        draft.document.put("id", rng.choice(IDS))
    if rng.random() < 0.3:
        draft.document.put("color", rng.choice(("red", 3, True)))
    if rng.random() < 0.2:
        draft.document.put("parameters", members(temperature=rng.choice((1, "x", False))))
    return draft
