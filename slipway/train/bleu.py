"""BLEU as tensor2tensor computes it (`utils/bleu_hook.py`; Papineni et al. 2002).

Up to four-grams, no smoothing but a halving share for orders without a match, a brevity penalty. Text is tokenised as
NIST's mteval-v14 does it internationally: punctuation and symbols become tokens, except punctuation between digits.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from math import exp, log
from pathlib import Path
from typing import Final

from slipway.errors import invalid

_ORDERS: Final = 4


class BleuSums:
    """The sums over a corpus from which BLEU follows."""

    def __init__(self) -> None:
        self._matches = [0] * _ORDERS
        self._possible = [0] * _ORDERS
        self._lengths = [0, 0]  # of references and translations

    def add(self, reference: Sequence[Hashable], translation: Sequence[Hashable]) -> None:
        """Count one sentence, as tokens of any kind."""
        self._lengths[0] += len(reference)
        self._lengths[1] += len(translation)
        for order in range(1, _ORDERS + 1):
            known, given = _counts(reference, order), _counts(translation, order)
            self._matches[order - 1] += (known & given).total()
            self._possible[order - 1] += given.total()

    def values(self) -> list[int]:
        """Return the sums as a list, for processes to add."""
        return [*self._matches, *self._possible, *self._lengths]

    @classmethod
    def of(cls, values: Sequence[float]) -> BleuSums:
        """Return the sums in a list of `values`."""
        sums = cls()
        whole = [int(each) for each in values]
        sums._matches, sums._possible, sums._lengths = whole[:_ORDERS], whole[_ORDERS:-2], whole[-2:]
        return sums

    def score(self) -> float:
        """Return BLEU from 0 to 1."""
        halves, logs = 1.0, 0.0
        for matches, possible in zip(self._matches, self._possible, strict=True):
            if matches:
                logs += log(matches / possible)
            elif possible:
                halves *= 2
                logs -= log(halves * possible)
        if not any(self._possible):
            return 0.0
        reference, translation = self._lengths
        penalty = 1.0 if translation >= reference else exp(1 - reference / translation)
        return penalty * exp(logs / _ORDERS)


def corpus_bleu(pairs: Iterable[tuple[str, str]], *, cased: bool) -> float:
    """Return BLEU, 0 to 100, of (reference, translation) lines."""
    sums = BleuSums()
    for reference, translation in pairs:
        lines = (reference, translation) if cased else (reference.lower(), translation.lower())
        sums.add(*map(tokenise, lines))
    return 100 * sums.score()


def tokenise(line: str) -> list[str]:
    """Return the tokens of a line."""
    after, before, symbols = _rules()
    line = after.sub(r"\1 \2 ", line)
    line = before.sub(r" \1 \2", line)
    return symbols.sub(r" \1 ", line).split()


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file; raise INVALID_ARG if it cannot be read or is not valid UTF-8."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise invalid(f"'{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise invalid(f"'{path}' is not a text file: byte {error.start} is not valid UTF-8") from None
    return text.removesuffix("\n").split("\n")


def paired_lines(reference: Path, translation: Path) -> list[tuple[str, str]]:
    """Return the lines of two files side by side; raise INVALID_ARG if their numbers differ or they are empty."""
    lines = read_lines(reference), read_lines(translation)
    if len(lines[0]) != len(lines[1]):
        raise invalid(
            f"'{reference}' has {len(lines[0])} lines, but '{translation}' has {len(lines[1])}: line n of one has "
            "to be the translation of line n of the other"
        )
    if not any(lines[0]):
        raise invalid(f"'{reference}' is empty")
    return list(zip(*lines, strict=True))


def _counts(tokens: Sequence[Hashable], order: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


@cache
def _rules() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the rules: punctuation after a character that is not a digit, punctuation before one, symbols."""
    marks, symbols = (
        "".join(char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char)[0] == letter)
        for letter in "PS"
    )
    mark = f"[{re.escape(marks)}]"
    return re.compile(rf"([^\d])({mark})"), re.compile(rf"({mark})([^\d])"), re.compile(f"([{re.escape(symbols)}])")
