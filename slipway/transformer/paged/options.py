"""The settings of a running batch: the memory of its pages, and how much it does at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slipway.errors import invalid, shown
from slipway.machine import read_memory

PAGE_SIZE: Final = 16  # tokens: what an equal beginning is measured in, and half of which a row wastes on average
_MIB: Final = 1 << 20
_SHARE: Final = 4  # of the memory that is free when the first row comes, one part is for pages
_LARGEST: Final = 4096 * _MIB  # of the pages by default
_UNKNOWN: Final = 1024 * _MIB  # where the system does not say how much memory is free
_MOST_PAGES: Final = 1 << 16  # a million tokens


@dataclass(frozen=True, slots=True)
class RunningOptions:
    """`cache_mib`: memory for keys and values, 0 for a quarter of the free memory, at most 4 GiB. `places`: rows that
    run at once; the others wait; 0: there is no running batch, and rows that come together run together. `step_tokens`:
    tokens of prompts that one step computes at most. `most_drafted`: tokens of a row that are guessed from its prompt
    and text and computed with its newest one, as far as that pays; 0: none."""

    cache_mib: int = 0
    places: int = 64
    step_tokens: int = 512
    most_drafted: int = 8

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> RunningOptions:
        """Return the settings in the parameters of a model's config: `PARAMETERS`; raise
        INVALID_ARG naming every one that is not a whole number in its range."""
        found: dict[str, int] = {}
        problems = []
        for name, (field, least) in PARAMETERS.items():
            text = parameters.get(name, "").strip()
            if text and text.isdecimal() and int(text) >= least:
                found[field] = int(text)
            elif text:
                problems.append(f"parameter '{name}' is '{shown(text)}', expected a whole number from {least}")
        if problems:
            raise invalid("; ".join(problems))
        return cls(**found)

    def pages(self, page_bytes: int, free: int | None = None) -> int:
        """Return how many pages of `page_bytes` bytes the memory holds, at least one. `free` is that of a device, in
        bytes; None: the pages are in the memory of this machine."""
        if self.cache_mib:
            return max(1, self.cache_mib * _MIB // page_bytes)
        if free is None and (memory := read_memory()) is not None:
            free = max(memory.total - memory.used, 0)
        share = _UNKNOWN if free is None else free // _SHARE
        return max(1, min(_MOST_PAGES, min(_LARGEST, share) // page_bytes))


# Name in config.pbtxt -> field, and the least value.
PARAMETERS: Final[Mapping[str, tuple[str, int]]] = {
    "KV_CACHE_MIB": ("cache_mib", 0),
    "MAX_RUNNING": ("places", 0),
    "STEP_TOKENS": ("step_tokens", 1),
    "DRAFT_TOKENS": ("most_drafted", 0),
}
