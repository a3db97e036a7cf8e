"""Pages of a report, drawn into a PDF: titles, paragraphs, tables, charts and captions, and where each of them is.

Boxes are x1, y1, x2, y2 in parts of the page, from its upper left corner. `random_pages` makes any number of pages to
train a detector with; `report_pages` makes the two pages that the example reads.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from reportlab.lib.pagesizes import letter
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = letter
TITLE, PARAGRAPH, TABLE, CHART, CAPTION = "title", "paragraph", "table", "chart", "caption"
TITLE_WORDS = (2, 5)  # in made-up titles; of a shorter one, a detector that never saw any finds several boxes

_FONTS: Final = (("Helvetica", "Helvetica-Bold", "Helvetica-Oblique"), ("Times-Roman", "Times-Bold", "Times-Italic"))
_COLOURS: Final = ((0.12, 0.31, 0.55), (0.80, 0.36, 0.19), (0.25, 0.55, 0.30), (0.55, 0.35, 0.60), (0.45, 0.45, 0.45))
_WORDS: Final = tuple(
    "the river of a mill and grain was sold in spring water rose above old bridge farmers north valley each year more "
    "wheat barley rye oats stored dry harvest early frost soil field market price fell since record shows half third "
    "between town station road carts canal boats during winter little snow measured daily average yield hectare".split()
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Something on a page: its kind, its box in parts of the page, and its text."""

    kind: str
    box: tuple[float, float, float, float]
    text: str


@dataclass(frozen=True, slots=True)
class Style:
    """The fonts of a page (plain, bold, italic), its text size in points, and its left and right margin."""

    fonts: tuple[str, str, str]
    size: float
    margin: float


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table, row by row; `ruled` draws all lines, otherwise only those under rows."""

    cells: tuple[tuple[str, ...], ...]
    ruled: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: bars or lines, a name for each place on the horizontal axis, and one row of values per colour."""

    bars: bool
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    height: float = 150


Block = tuple[str, str | Table | Chart]


@dataclass(slots=True)
class Page:
    """A page that is filled from top to bottom."""

    canvas: Canvas
    style: Style
    top: float = 60.0  # points from the upper edge
    drawn: list[Drawn] = field(default_factory=list)

    def has_room(self, points: float) -> bool:
        """Return whether so many points are left."""
        return self.top + points < HEIGHT - 50

    def title(self, text: str) -> None:
        """Draw a title of one line."""
        size = self.style.size * 1.5
        self._line(text, self.style.fonts[1], size, self.top)
        wide = stringWidth(text, self.style.fonts[1], size)
        self._add(TITLE, self.style.margin, self.top, wide, size * 1.05, text)
        self.top += size * 1.05 + 8

    def paragraph(self, text: str) -> None:
        """Draw a text, broken into lines."""
        self._text(PARAGRAPH, text, self.style.fonts[0], self.style.size)

    def caption(self, text: str) -> None:
        """Draw a caption."""
        self._text(CAPTION, text, self.style.fonts[2], self.style.size * 0.9)

    def table(self, table: Table) -> None:
        """Draw a table as wide as the text."""
        font, size = self.style.fonts[0], self.style.size * 0.9
        row, column = size * 1.8, self._width / len(table.cells[0])
        high = row * len(table.cells)
        left, canvas = self.style.margin, self.canvas
        canvas.setStrokeGray(0.3)
        for number in range(len(table.cells) + 1):
            self._rule(left, self.top + number * row, left + self._width, self.top + number * row)
        for number in range(len(table.cells[0]) + 1) if table.ruled else ():
            self._rule(left + number * column, self.top, left + number * column, self.top + high)
        for number, cells in enumerate(table.cells):
            used = self.style.fonts[1] if number == 0 else font
            for place, cell in enumerate(cells):
                self._line(cell, used, size, self.top + number * row + size * 0.4, left + place * column + 5)
        self._add(TABLE, left, self.top, self._width, high, _latex(table))
        self.top += high + 12

    def chart(self, chart: Chart) -> None:
        """Draw a chart with its axes, as wide as the text."""
        left, canvas, high = self.style.margin, self.canvas, chart.height
        bottom = self.top + high - 14
        x, wide = left + 30, self._width - 30
        most = max(max(row) for row in chart.values)
        canvas.setStrokeGray(0)
        self._rule(x, self.top, x, bottom)
        self._rule(x, bottom, x + wide, bottom)
        for tick in range(5):
            y = bottom - (bottom - self.top - 8) * tick / 4
            self._line(f"{most * tick / 4:.0f}", self.style.fonts[0], 7, y - 4, left)
            self._rule(x - 3, y, x, y)
        step = wide / len(chart.names)
        for place, name in enumerate(chart.names):
            self._line(name, self.style.fonts[0], 7, bottom + 4, x + place * step + step / 4)
        scale = (bottom - self.top - 8) / most
        for number, (row, colour) in enumerate(zip(chart.values, _COLOURS, strict=False)):
            canvas.setFillColorRGB(*colour)
            canvas.setStrokeColorRGB(*colour)
            if chart.bars:
                bar = step * 0.7 / len(chart.values)
                for place, value in enumerate(row):
                    at = x + place * step + step * 0.15 + number * bar
                    canvas.rect(at, HEIGHT - bottom, bar, value * scale, stroke=0, fill=1)
            else:
                points = [
                    (x + (place + 0.5) * step, HEIGHT - bottom + value * scale) for place, value in enumerate(row)
                ]
                canvas.setLineWidth(1.5)
                for one, other in pairwise(points):
                    canvas.line(*one, *other)
                canvas.setLineWidth(1)
        canvas.setFillGray(0)
        self._add(CHART, left, self.top, self._width, high, "")
        self.top += high + 6

    def draw(self, blocks: Sequence[Block]) -> list[Drawn]:
        """Draw blocks from top to bottom, end the page, and return what was drawn."""
        for kind, content in blocks:
            getattr(self, kind)(content)
        self.canvas.showPage()
        return self.drawn

    @property
    def _width(self) -> float:
        return WIDTH - 2 * self.style.margin

    def _text(self, kind: str, text: str, font: str, size: float) -> None:
        lines = _broken(text, font, size, self._width)
        start = self.top
        for line in lines:
            self._line(line, font, size, self.top)
            self.top += size * 1.3
        wide = max(stringWidth(line, font, size) for line in lines)
        self._add(kind, self.style.margin, start, wide, self.top - start, text)
        self.top += size * 0.9

    def _line(self, text: str, font: str, size: float, top: float, left: float | None = None) -> None:
        self.canvas.setFont(font, size)
        self.canvas.drawString(self.style.margin if left is None else left, HEIGHT - top - size * 0.8, text)

    def _rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.canvas.line(x1, HEIGHT - y1, x2, HEIGHT - y2)

    def _add(self, kind: str, left: float, top: float, wide: float, high: float, text: str) -> None:
        box = (left / WIDTH, top / HEIGHT, (left + wide) / WIDTH, (top + high) / HEIGHT)
        self.drawn.append(Drawn(kind, box, text))


def _broken(text: str, font: str, size: float, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and stringWidth(longer, font, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _latex(table: Table) -> str:
    rows = r" \\ ".join(" & ".join(row) for row in table.cells)
    return rf"\begin{{tabular}}{{{'l' * len(table.cells[0])}}} {rows} \end{{tabular}}"


def report_pages(path: Path) -> list[list[Drawn]]:
    """Write the report, two pages, and return what is on each."""
    canvas = Canvas(str(path), pagesize=letter, invariant=1)
    style = Style(_FONTS[0], 11, 72)
    first: list[Block] = [
        (TITLE, "Grain yields in the valley"),
        (
            PARAGRAPH,
            "The harvest of wheat and rye was measured in four villages. Frost came late, the soil was dry.",
        ),
        (TITLE, "Yield per year"),
        (CHART, Chart(True, ("2021", "2022", "2023", "2024"), ((41, 47, 52, 60), (28, 33, 31, 38)), 170)),
        (CAPTION, "Figure 1: Tonnes of wheat and rye per year, all villages."),
        (PARAGRAPH, "Wheat grew faster than rye. The old mill was repaired in 2023, so less grain was lost."),
    ]
    second: list[Block] = [
        (TITLE, "Yields of the villages"),
        (PARAGRAPH, "Each village reported its own yield at the end of summer. The northern fields gave the most."),
        (
            TABLE,
            Table(
                (
                    ("Village", "Wheat", "Rye"),
                    ("Northfield", "22", "14"),
                    ("Milltown", "17", "9"),
                    ("Oldbridge", "12", "8"),
                    ("Canal End", "9", "7"),
                )
            ),
        ),
        (PARAGRAPH, "Numbers are tonnes of dry grain. Boats carried a third of it to the market in town."),
        (TITLE, "Price on the market"),
        (CHART, Chart(False, ("May", "June", "July", "August", "September"), ((30, 34, 39, 33, 25),), 150)),
        (CAPTION, "Figure 2: Price per tonne, by month, in the market of the town."),
    ]
    pages = [Page(canvas, style).draw(blocks) for blocks in (first, second)]
    canvas.save()
    return pages


def random_pages(path: Path, count: int, seed: int) -> list[list[Drawn]]:
    """Write that many different pages, and return what is on each."""
    source = random.Random(seed)  # noqa: S311  layouts are not secrets
    canvas = Canvas(str(path), pagesize=letter)
    pages = []
    for _ in range(count):
        style = Style(source.choice(_FONTS), source.uniform(9, 13), source.uniform(40, 110))
        page = Page(canvas, style, top=source.uniform(40, 120))
        while page.has_room(60):
            kind = source.choice((TITLE, PARAGRAPH, PARAGRAPH, TABLE, CHART, CAPTION))
            if not _draw_random(page, kind, source):
                page.top += 40
        pages.append(page.draw(()))
    canvas.save()
    return pages


def _draw_random(page: Page, kind: str, source: random.Random) -> bool:
    """Draw something made up if there is room for it."""
    if kind == TITLE:
        page.title(_sentence(source, *TITLE_WORDS).capitalize())
    elif kind == PARAGRAPH:
        page.paragraph(_sentence(source, 12, 60 if page.has_room(120) else 20).capitalize() + ".")
    elif kind == CAPTION:
        page.caption(random_caption(source))
    elif kind == TABLE:
        rows, columns = source.randint(3, 9), source.randint(2, 5)
        if not page.has_room(25 * rows):
            return False
        page.table(Table(tuple(_row(source, columns, row) for row in range(rows)), ruled=source.random() < 0.6))
    else:
        high = source.uniform(110, 220)
        if not page.has_room(high):
            return False
        page.chart(_random_chart(source, high))
    page.top += source.uniform(0, 20)
    return True


def random_caption(source: random.Random) -> str:
    """Return a made-up caption."""
    what = source.choice(("Figure", "Table", "Chart", "Fig."))
    return f"{what} {source.randint(1, 30)}{source.choice((':', '.'))} {_sentence(source, 4, 12).capitalize()}."


def random_other_text(source: random.Random) -> str:
    """Return a made-up text that is not a caption."""
    text = _sentence(source, 2, 40).capitalize()
    return source.choice((text, f"{text}.", f"{source.randint(1, 40)}", f"{text}: {source.randint(1, 2000)}", ""))


def _sentence(source: random.Random, least: int, most: int) -> str:
    return " ".join(source.choices(_WORDS, k=source.randint(least, most)))


def _row(source: random.Random, columns: int, number: int) -> tuple[str, ...]:
    first = source.choice(_WORDS).capitalize()
    rest = [source.choice(_WORDS) if number == 0 else str(source.randint(1, 999)) for _ in range(columns - 1)]
    return (first, *rest)


def _random_chart(source: random.Random, high: float) -> Chart:
    places, rows = source.randint(3, 8), source.randint(1, 3)
    values = tuple(tuple(source.uniform(5, 100) for _ in range(places)) for _ in range(rows))
    names = tuple(str(2000 + place) if source.random() < 0.5 else source.choice(_WORDS) for place in range(places))
    return Chart(source.random() < 0.6, names, values, high)
