"""The markup that ECLAIR writes: `<x_A><y_B>TEXT<x_C><y_D><class_NAME>`, once per element of a page.

One pass over the text, in linear time. What does not follow the format is left out and reported: the text of a model
that stopped at its token limit ends in the middle of an element. Knows no page; `reading` maps boxes and texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slipway.documents.canvas import Box
from slipway.errors import invalid, shown

MOST_CHARACTERS: Final = 4 << 20
_SHOWN: Final = 3  # problems in an error
# A point; with a class, it ends an element. Longer numbers are text: no canvas is that large.
_POINT: Final = re.compile(r"<x_([0-9]{1,6})><y_([0-9]{1,6})>(?:<class_([^<>]{1,64})>)?")


@dataclass(frozen=True, slots=True)
class MarkedElement:
    """An element as the model wrote it: class, box on the canvas, text with its own markup."""

    kind: str
    box: Box
    text: str


@dataclass(frozen=True, slots=True)
class Markup:
    """The elements of a page in the model's order, and what was left out and why."""

    elements: tuple[MarkedElement, ...]
    problems: tuple[str, ...] = ()


def parse_markup(text: str, *, strict: bool = False) -> Markup:
    """Return the elements of a text; with `strict`, raise INVALID_ARG if anything in it is not part of an element.

    Otherwise such parts are left out, each with a problem: an element without an end (the next one begins at the next
    start), an end without a start, a box whose corners are in the wrong order, text between elements. A text of more
    than four million characters is INVALID_ARG.
    """
    if len(text) > MOST_CHARACTERS:
        raise invalid(f"markup: it has {len(text)} characters; the limit is {MOST_CHARACTERS}")
    elements, problems = _parsed(text)
    if strict and problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise invalid(f"markup: {'; '.join(problems[:_SHOWN])}{more}")
    return Markup(tuple(elements), tuple(problems))


def _parsed(text: str) -> tuple[list[MarkedElement], list[str]]:
    elements: list[MarkedElement] = []
    problems: list[str] = []
    start: re.Match[str] | None = None
    read = 0  # the end of the last element, or of what was reported
    for point in _POINT.finditer(text):
        before = text[read : point.start()]
        kind = point[3]
        if start is not None and kind is None:
            problems.append(f"character {start.start()}: an element has no end: '{shown(before)}'")
        elif start is not None:
            _finish(start, point, elements, problems)
        else:
            if before.strip():
                problems.append(f"character {read}: text outside elements: '{shown(before.strip())}'")
            if kind is not None:
                problems.append(f"character {point.start()}: an element of class '{kind}' has no start")
        start = point if kind is None else None
        read = point.end()
    rest = text[read:]
    if start is not None:
        problems.append(f"character {start.start()}: the last element has no end: '{shown(rest)}'")
    elif rest.strip():
        problems.append(f"character {read}: text outside elements: '{shown(rest.strip())}'")
    return elements, problems


def _finish(start: re.Match[str], end: re.Match[str], elements: list[MarkedElement], problems: list[str]) -> None:
    box = (int(start[1]), int(start[2]), int(end[1]), int(end[2]))
    if box[0] > box[2] or box[1] > box[3]:
        problems.append(f"character {start.start()}: the corners of box {box} are in the wrong order")
        return
    elements.append(MarkedElement(end[3], box, start.string[start.end() : end.start()]))
