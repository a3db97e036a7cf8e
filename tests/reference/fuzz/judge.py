"""Compare the answers of both servers to a step, with the table of intended differences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.reference.answers import Answer
from tests.reference.differences import FORESEEN
from tests.reference.foreseen import Foreseen


@dataclass(frozen=True, slots=True)
class Difference:
    """A step whose answers differ: what was sent, what came back, and why that may be (None: nobody knows)."""

    request: str
    ours: str
    theirs: str
    foreseen: Foreseen | None

    @property
    def group(self) -> str:
        """What differences of one cause share: both texts without numbers, names and values."""
        return f"{_template(self.ours)} | {_template(self.theirs)}"

    @property
    def has_consequences(self) -> bool:
        """Whether the answers to later requests of the case may differ because of it."""
        return self.foreseen is None or not self.foreseen.without

    def __str__(self) -> str:
        return f"{self.request}\n  slipway:   {self.ours}\n  reference: {self.theirs}"


def compare(request: str, ours: Answer, theirs: Answer, faults: int = 0) -> Difference | None:
    """Return how two answers to a request with so many faults differ, or None."""
    one, two = said(ours), said(theirs)
    if one == two or _reordered(request, ours.content, theirs.content):
        return None
    rest_one, rest_two, foreseen = one, two, None
    for row in FORESEEN:
        if row.without and re.search(row.request, request) and re.search(row.without, one + two):
            foreseen = row
            rest_one, rest_two = (re.sub(row.without, "", text) for text in (rest_one, rest_two))
    if rest_one != rest_two:
        foreseen = next((row for row in FORESEEN if row.matches(request, rest_one, rest_two, faults)), None)
    return Difference(request, one, two, foreseen)


def said(answer: Answer) -> str:
    """Return an answer as one text: status and error, or status and content in a fixed order."""
    match answer.content:
        case (headers, {"error": str(error), **rest}) if not rest:
            return f"{answer.status} {error}" + (f" {headers}" if headers else "")
        case content:
            return f"{answer.status} {_ordered(content)}"


def _reordered(request: str, ours: object, theirs: object) -> bool:
    """Return whether streams of several requests differ only in how the answers to them are interleaved."""
    is_stream = request.startswith("ModelStreamInfer") and request.count("\n") > 1
    if not is_stream or not isinstance(ours, list) or not isinstance(theirs, list):
        return False
    return sorted(map(_ordered, ours)) == sorted(map(_ordered, theirs))


def _ordered(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key!r}: {_ordered(value[key])}" for key in sorted(value)) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_ordered, value)) + "]"
        case _:
            return repr(value)


_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|b'.*|\[.*\]|-?\d+(\.\d+)?([eE][+-]?\d+)?")


def _template(text: str) -> str:
    status, _, rest = text.partition(" ")
    if rest.startswith(("[{", "{")):
        rest = rest[:24]
    return f"{status} {_VARIABLE.sub('_', rest)}"[:160]
