"""Plain text tables, drawn as tritonserver draws them, and folded or stacked if they must fit a width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

Cells = list[list[str]]  # the lines of each cell of a row

_READABLE: Final = 20  # columns; a narrower column is not folded further
_INDENT: Final = "  "
_GAP: Final = "  "


def render_table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return a table with one column per header; a cell may have several lines.

    If `width` is given, no line is wider: columns without values are left out, cells are folded, and if that would make
    columns too narrow to read, each row becomes a block: the first cell, and below it the others with their headers.
    """
    if width is None or _drawn_width(_widths(cells := _split(headers, rows))) <= width:
        return _draw(_split(headers, rows))
    used = [column for column in range(len(headers)) if column == 0 or any(row[column].strip() for row in rows)]
    headers, rows = [headers[column] for column in used], [[row[column] for column in used] for row in rows]
    cells = _split(headers, rows)
    widths = _folded_widths(cells, width)
    if widths is None:
        return "\n".join(_blocks(headers, rows, width))
    return _draw([[_fold(cell, limit) for cell, limit in zip(row, widths, strict=True)] for row in cells])


def _split(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Cells]:
    return [[cell.rstrip().split("\n") for cell in row] for row in (headers, *rows)]


def _widths(cells: Sequence[Cells]) -> list[int]:
    return [max(len(line) for row in cells for line in row[column]) for column in range(len(cells[0]))]


def _drawn_width(widths: Sequence[int]) -> int:
    return sum(widths) + 3 * len(widths) + 1


def _draw(cells: Sequence[Cells]) -> str:
    widths = _widths(cells)
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [rule]
    for number, row in enumerate(cells):
        for line in range(max(map(len, row))):
            texts = [cell[line] if line < len(cell) else "" for cell in row]
            lines.append("|" + "|".join(f" {text:<{width}} " for text, width in zip(texts, widths, strict=True)) + "|")
        if number == 0:
            lines.append(rule)
    return "\n".join([*lines, rule])


def _folded_widths(cells: Sequence[Cells], width: int) -> list[int] | None:
    """Return widths that fit, taken from the widest columns; None if a column would be unreadable or cut a word."""
    widths = _widths(cells)
    words = [
        max((len(word) for row in cells for line in row[column] for word in line.split()), default=0)
        for column in range(len(widths))
    ]
    floors = [min(natural, max(_READABLE, word)) for natural, word in zip(widths, words, strict=True)]
    while _drawn_width(widths) > width:
        widest = max(range(len(widths)), key=lambda column: widths[column] - floors[column])
        if widths[widest] == floors[widest]:
            return None
        widths[widest] -= 1
    return widths


def _fold(lines: Sequence[str], width: int) -> list[str]:
    return [part for line in lines for part in (textwrap.wrap(line, width, break_on_hyphens=False) or [""])]


def _blocks(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the lines of one block per row; a value is at the same place in every block."""
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    titled = [[row[0], *(f"{name} {cell}" if cell else "" for name, cell in _pairs(headers, row))] for row in cells]
    places = _packed([max(len(row[column]) for row in titled) for column in range(len(headers))], width)
    for row in titled:
        for number, place in enumerate(places):
            text = _GAP.join(row[column].ljust(size) for column, size in place).strip()
            indent = _INDENT if number else ""
            yield from textwrap.wrap(
                text, width, initial_indent=indent, subsequent_indent=_INDENT, break_on_hyphens=False
            )


def _pairs(headers: Sequence[str], row: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(headers, row, strict=True))[1:]


def _packed(sizes: Sequence[int], width: int) -> list[list[tuple[int, int]]]:
    """Return the columns of each line, as (column, size): as many as fit, all lines but the first indented."""
    lines: list[list[tuple[int, int]]] = []
    room = -1
    for column, size in enumerate(sizes):
        if size > room:
            room = width - (len(_INDENT) if lines else 0)
            lines.append([])
        lines[-1].append((column, size))
        room -= size + len(_GAP)
    return lines
