"""Every change of one value in a JSON document: wrong types, huge numbers, odd names."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

ODD: Final[tuple[Any, ...]] = (
    0, -1, 1, 3, 10**9, 2**63, 10**400, 1.5, float("inf"), float("nan"), True, None, "", "x", "a" * 10_000, "\ud800",
    "\0", "../x", [], [1], ["x"], [None], [[]], [{}], {}, {"a": 1},
)  # fmt: skip
Place = tuple[str | int, ...]


def places(value: Any, before: Place = ()) -> Iterator[Place]:
    """Yield the place of every value inside `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*before, key)
        yield from places(each, (*before, key))


def variations(document: Any) -> Iterator[bytes]:
    """Yield the document with each value replaced by each odd one, and with each value left out."""
    for place in places(document):
        for odd in (*ODD, ...):
            changed = copy.deepcopy(document)
            target = changed
            for key in place[:-1]:
                target = target[key]
            if odd is ...:
                del target[place[-1]]
            else:
                target[place[-1]] = odd
            yield json.dumps(changed).encode()


def json_seeds(seeds: list[bytes]) -> Iterator[Any]:
    """Yield the seeds that are JSON objects or arrays, as values."""
    for seed in seeds:
        try:
            value = json.loads(seed)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list) and len(seed) < 4096:
            yield value
