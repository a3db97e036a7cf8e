"""The models that attacks are built around: found through the server's own metadata, and asked once beforehand.

A model is taken if it answers a small request made up from its metadata. Its answer is kept, and after every group it
has to come again.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from slipway.attack.http_client import HttpClient, NoResponseError
from slipway.datatypes import BY_NAME
from slipway.errors import invalid, unavailable

_TEXT: Final = "BYTES"
_WITHOUT_JSON: Final = ("FP16", "BF16")
_MOST_ELEMENTS: Final = 4096
_MOST_MODELS: Final = 50  # whose metadata is read
_MOST_TRIED: Final = 10
HEALTH: Final = "/v2/health/live"


@dataclass(frozen=True, slots=True)
class KnownInput:
    """One input of a model, with a shape that the model takes."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def values(self) -> list[Any]:
        """The elements as JSON."""
        if self.datatype == _TEXT:
            return ["a"] * self.count
        numbers = [number % 2 for number in range(self.count)]
        return [bool(number) for number in numbers] if self.datatype == "BOOL" else numbers

    @property
    def raw(self) -> bytes:
        """The elements as in the binary extension and in raw_input_contents."""
        if self.datatype == _TEXT:
            return (struct.pack("<I", 1) + b"a") * self.count
        return np.array(self.values, BY_NAME[self.datatype].numpy).tobytes()

    def entry(self, **changes: Any) -> dict[str, Any]:
        """Return the input of a JSON request, with members changed."""
        given = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape), "data": self.values}
        return given | changes


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that answers, and its answer: the outputs of the response to its request."""

    name: str
    inputs: tuple[KnownInput, ...]
    outputs: tuple[str, ...] = ()
    answer: object = None
    varies: bool = False  # two responses had different data; then only names, datatypes and shapes are compared

    @property
    def path(self) -> str:
        """The path of the model."""
        return f"/v2/models/{quote(self.name, safe='')}"

    @property
    def infer(self) -> str:
        """The path of its infer requests."""
        return f"{self.path}/infer"

    @property
    def first(self) -> KnownInput:
        """The input that attacks change."""
        return self.inputs[0]

    def document(self, **changes: Any) -> dict[str, Any]:
        """Return the good request with members of its first input changed."""
        return self.with_first(self.first.entry(**changes))

    def with_first(self, *entries: object) -> dict[str, Any]:
        """Return the good request with `entries` in the place of its first input."""
        return {"inputs": [*entries, *(each.entry() for each in self.inputs[1:])]}

    async def what_is_wrong(self, client: HttpClient) -> str:
        """Return what is wrong with the response to the good request, "" if it is as before."""
        try:
            response = await client.post(self.infer, self.document())
        except NoResponseError as error:
            return str(error)
        if response.status != 200:
            return f"status {response.status}"
        return "" if _outputs(response.json(), self.varies) == self.answer else "another answer than before"


@dataclass(frozen=True, slots=True)
class KnownModels:
    """The models that attacks use; None where the server has none of the kind."""

    good: KnownModel
    numbers: KnownModel | None
    text: KnownModel | None


async def find_models(client: HttpClient, name: str = "") -> KnownModels:
    """Return the models for the attacks: only `name`, or chosen by the server's index.

    Raise an error if none answers.
    """
    numbers = text = None
    tried = 0
    for model in sorted(await _described(client, name), key=_preference):
        is_text = model.first.datatype == _TEXT
        if (text if is_text else numbers) is not None or (tried == _MOST_TRIED and not name):
            continue
        tried += 1
        answering = await _answering(client, model)
        if answering is not None and is_text:
            text = answering
        elif answering is not None:
            numbers = answering
    good = numbers or text
    if good is None:
        raise unavailable(
            f"the model '{name}' does not answer a small request made up from its metadata"
            if name
            else "no model of the server answers a small request made up from its metadata; name one with --model, or "
            "load one with few and small inputs"
        )
    return KnownModels(good, numbers, text)


async def _described(client: HttpClient, name: str) -> list[KnownModel]:
    names = [name] if name else await _index(client)
    found = []
    for each in names[:_MOST_MODELS]:
        response = await client.ask("GET", f"/v2/models/{quote(each, safe='')}")
        described = _model(each, response.json()) if response.status == 200 else None
        if described is not None:
            found.append(described)
        elif name:
            raise invalid(f"the server does not describe inputs of a model '{name}' that attacks can be built around")
    return found


async def _index(client: HttpClient) -> list[str]:
    response = await client.post("/v2/repository/index", {"ready": True})
    listed = response.json()
    if response.status != 200 or not isinstance(listed, list):
        raise unavailable("the server does not list its models (POST /v2/repository/index): name one with --model")
    return [entry["name"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("name"), str)]


def _model(name: str, metadata: Any) -> KnownModel | None:
    """Return the model if the attacks can make up a request for it."""
    listed = metadata.get("inputs") if isinstance(metadata, dict) else None
    inputs = [_input(each) for each in listed] if isinstance(listed, list) else []
    known = [each for each in inputs if each is not None]
    if not known or len(known) < len(inputs) or len({each.datatype == _TEXT for each in known}) == 2:
        return None
    listed = metadata.get("outputs")
    outputs = [str(each.get("name")) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return KnownModel(name, tuple(known), tuple(outputs))


def _input(entry: Any) -> KnownInput | None:
    known = entry if isinstance(entry, dict) else {}
    name, datatype, shape = (known.get(key) for key in ("name", "datatype", "shape"))
    if datatype not in BY_NAME or datatype in _WITHOUT_JSON or not isinstance(shape, list):
        return None
    if not all(isinstance(size, int) for size in shape):
        return None
    free = [1 if len(shape) > 1 else 2, *[2] * len(shape)]  # of the first axis, which may be the batch, and of others
    sizes = tuple(size if size != -1 else least for size, least in zip(shape, free, strict=False))
    found = KnownInput(str(name), datatype, sizes)
    return found if 0 < found.count <= _MOST_ELEMENTS else None


def _preference(model: KnownModel) -> tuple[bool, int, int, str]:
    """More than one element, so that shapes can lie; then few inputs, then few elements."""
    return model.first.count < 2, len(model.inputs), model.first.count, model.name


async def _answering(client: HttpClient, model: KnownModel) -> KnownModel | None:
    found = []
    for _ in range(2):
        response = await client.post(model.infer, model.document())
        if response.status != 200:
            return None
        found.append(response.json())
    varies = _outputs(found[0], False) != _outputs(found[1], False)
    answer = _outputs(found[0], varies)
    return KnownModel(model.name, model.inputs, model.outputs, answer, varies) if answer else None


def _outputs(document: Any, varies: bool) -> list[dict[str, Any]]:
    """Return the outputs of a response, by name."""
    listed = document.get("outputs") if isinstance(document, dict) else None
    keys = ("name", "datatype", "shape") if varies else ("name", "datatype", "shape", "data")
    return sorted(_members(listed, keys), key=lambda output: str(output["name"]))


def _members(listed: Any, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    for output in listed if isinstance(listed, list) else ():
        if isinstance(output, dict):
            yield {key: output.get(key) for key in keys}
