"""A page as ECLAIR read it: texts, tables and pictures, with boxes on the page. Joins markup, canvas and plain text."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from numpy.typing import NDArray

from slipway.documents.canvas import Box, Canvas
from slipway.documents.markup import MarkedElement, parse_markup
from slipway.documents.pages import Page
from slipway.documents.plain_text import latex_table, plain_text
from slipway.errors import invalid, shown

TEXTS: Final = frozenset({"Text", "Title", "Section-header", "List-item", "TOC", "Bibliography", "Formula"})
LEFT_OUT: Final = frozenset({"Page-header", "Page-footer", "Caption", "Footnote", "Floating-text"})
TABLE: Final = "Table"
PICTURE: Final = "Picture"
_KNOWN: Final = (*sorted(TEXTS | LEFT_OUT), TABLE, PICTURE)


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A text with its class: plain, or LaTeX for a table. Its box is on the page, as `Canvas.to_page` returns it."""

    kind: str
    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A picture: its pixels UINT8 [height, width, 3] as on the canvas, and its box on the page."""

    pixels: Page
    box: Box


@dataclass(frozen=True, slots=True)
class ReadPage:
    """What a page holds, each in the model's order, and what was left out of it because the markup is wrong."""

    texts: tuple[TextBlock, ...]
    tables: tuple[TextBlock, ...]
    pictures: tuple[PagePicture, ...]
    problems: tuple[str, ...] = ()


def output_texts(output: NDArray[Any], pages: int) -> list[str]:
    """Return the markup of each page in the model's output `text`: BYTES [pages] or [pages, 1].

    Bytes that are not UTF-8 become U+FFFD: a model may stop inside a character. Raises INVALID_ARG for another shape,
    or elements that are not texts.
    """
    if output.shape not in {(pages,), (pages, 1)}:
        raise invalid(
            f"text output: its shape is {list(output.shape)} for {pages} pages, expected [pages] or [pages, 1]"
        )
    return [_decoded(element) for element in output.reshape(-1).tolist()]


def read_page(output: str, canvas: Canvas) -> ReadPage:
    """Return the page in a model's output for a canvas.

    Headers, footers, captions, footnotes and floating texts are left out, as are texts without a word. Elements of an
    unknown class and pictures beside the canvas are left out and reported with the markup's own problems.
    """
    markup = parse_markup(output)
    texts: list[TextBlock] = []
    tables: list[TextBlock] = []
    pictures: list[PagePicture] = []
    problems = list(markup.problems)
    for element in markup.elements:
        box = canvas.to_page(element.box)
        if element.kind in TEXTS:
            if text := plain_text(element.text):
                texts.append(TextBlock(element.kind, text, box))
        elif element.kind == TABLE:
            tables.append(TextBlock(element.kind, latex_table(element.text), box))
        elif element.kind == PICTURE:
            pixels = canvas.crop(element.box)
            if pixels is None:
                problems.append(f"picture {element.box}: it is empty or beside the canvas")
            else:
                pictures.append(PagePicture(pixels, box))
        elif element.kind not in LEFT_OUT:
            problems.append(_unknown(element))
    return ReadPage(tuple(texts), tuple(tables), tuple(pictures), tuple(problems))


def _decoded(element: object) -> str:
    if isinstance(element, bytes):
        return element.decode("utf-8", errors="replace")
    if not isinstance(element, str):
        raise invalid(f"text output: it holds a value of type {type(element).__name__}, expected bytes")
    return element


def _unknown(element: MarkedElement) -> str:
    near = get_close_matches(element.kind, _KNOWN, n=1)
    advice = f"did you mean '{near[0]}'?" if near else f"known classes are {', '.join(_KNOWN)}"
    return f"element {element.box}: class '{shown(element.kind)}' is unknown: {advice}"
