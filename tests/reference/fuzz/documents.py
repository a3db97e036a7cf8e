"""JSON documents that a careful encoder would refuse to write: keys given twice, NaN, numbers of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """JSON text that stands in the document as it is."""

    text: str


class Members(list[tuple[str, object]]):
    """A JSON object as a list of members, in which a key may appear twice."""

    def get(self, key: str) -> object:
        """Return the first value of `key`, or None."""
        return next((value for name, value in self if name == key), None)

    def put(self, key: str, value: object) -> None:
        """Replace the value of `key`, or add it."""
        for place, (name, _) in enumerate(self):
            if name == key:
                self[place] = (key, value)
                return
        self.append((key, value))

    def drop(self, key: str) -> None:
        """Remove every member `key`."""
        self[:] = [member for member in self if member[0] != key]


def members(**values: object) -> Members:
    """Return an object of these members."""
    return Members(values.items())


def encode(value: object) -> bytes:
    """Return the text of a document; lone surrogates become the bytes that no UTF-8 has."""
    return _text(value).encode("utf-8", "surrogatepass")


def _text(value: object) -> str:
    match value:
        case Literal(text):
            return text
        case Members():
            return "{" + ",".join(f"{_quoted(key)}:{_text(item)}" for key, item in value) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text, value)) + "]"
        case str():
            return _quoted(value)
        case _:
            return json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@dataclass(slots=True)
class Place:
    """A value inside a document: its container and where it stands there."""

    container: Members | list[object]
    index: int

    @property
    def value(self) -> object:
        """The value that stands here."""
        found = self.container[self.index]
        return found[1] if isinstance(self.container, Members) else found

    @value.setter
    def value(self, value: object) -> None:
        if isinstance(self.container, Members):
            self.container[self.index] = (self.container[self.index][0], value)
        else:
            self.container[self.index] = value


def places(document: object) -> Iterator[Place]:
    """Yield every place inside a document, outer ones first."""
    if not isinstance(document, list):
        return
    for index in range(len(document)):
        place = Place(document, index)
        yield place
        yield from places(place.value)
