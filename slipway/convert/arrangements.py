"""How the rows of a gate are put together: each greedy row alone, padded with others, all in one execution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np


class Row(Protocol):
    """One question of a gate: `ids` int64 [tokens]."""

    @property
    def ids(self) -> np.ndarray:
        """The tokens of the input."""


_Row = TypeVar("_Row", bound=Row)


def arrangements(questions: Sequence[_Row], way: Callable[[_Row], str]) -> Iterator[tuple[str, list[list[_Row]]]]:
    """Yield names of executions with their requests, each a list of rows; `way` returns how a row is searched, "" for
    greedily. Rows that are searched have a request of their own."""
    plain = [question for question in questions if not way(question)]
    for index, question in enumerate(plain):
        yield f"row {index} alone ({len(question.ids)} tokens)", [[question]]
    for size in (2, 8):
        for start in range(0, len(plain) - 1, size):
            part = list(plain[start : start + size])
            yield f"rows {start} to {start + len(part) - 1} in one request", [part]
    for question in questions:
        if found := way(question):
            yield f"a row {found} ({len(question.ids)} tokens)", [[question]]
    yield "all rows as requests of one execution", [[question] for question in questions]
