"""Lines of two text files that are translations of each other, read side by side, checked, one pair in memory.

Knows files of text, not problems or vocabularies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from slipway.errors import invalid, not_found

_MAX_LINE: Final = 1 << 20  # bytes


@dataclass(slots=True)
class PairCount:
    """How many pairs were read, and how many were left out because a side is blank."""

    read: int = 0
    blank: int = 0


def text_pairs(files: Iterable[tuple[Path, Path]], count: PairCount | None = None) -> Iterator[tuple[str, str]]:
    """Yield the pairs of lines of all files, without whitespace at their ends; pairs with a blank side are left out.

    Raise NOT_FOUND for a missing file and INVALID_ARG with file and line for bytes that are not UTF-8, a line of more
    than 1 MiB, an empty file, and sides of different lengths.
    """
    count = PairCount() if count is None else count
    for source, target in files:
        yield from _pairs_of(source, target, count)


def _pairs_of(source: Path, target: Path, count: PairCount) -> Iterator[tuple[str, str]]:
    with _opened(source) as first, _opened(target) as second:
        sources, targets = _lines(source, first), _lines(target, second)
        number = 0
        while True:
            one, other = next(sources, None), next(targets, None)
            if one is None or other is None:
                break
            number = one[0]
            count.read += 1
            if one[1] and other[1]:
                yield one[1], other[1]
            else:
                count.blank += 1
        if one is not other:  # one side goes on
            longer, shorter = (source, target) if one is not None else (target, source)
            rest = sum(1 for _ in (sources if one is not None else targets))
            raise invalid(
                f"'{longer}' has {number + 1 + rest} lines, but '{shorter}' has {number}: line N of one file has to be "
                "the translation of line N of the other"
            )
        if not number:
            raise invalid(f"'{source}' and '{target}' are empty")


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, str]]:
    number = 0
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise invalid(
                f"'{path}', line {number} has more than {_MAX_LINE} bytes: is it a text with one sentence a line?"
            )
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise invalid(
                f"'{path}', line {number} is not valid UTF-8: byte {error.start + 1} is 0x{line[error.start]:02x}"
            ) from None
        yield number, text.strip()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", 1 << 18)
    except FileNotFoundError:
        raise not_found(f"'{path}' does not exist") from None
    except OSError as error:
        raise invalid(f"'{path}' cannot be read: {error.strerror}") from None
