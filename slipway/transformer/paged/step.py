"""The seam between the scheduler of a running batch and the networks that compute it: one step as arrays.

Knows neither an engine's library nor requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class PagedStep:
    """The tokens of several sequences that are computed together: pieces of prompts, and newest tokens.

    All arrays hold the sequences one after another, without padding. Sequence i has the new tokens
    `tokens[begins[i]:begins[i + 1]]`, at the positions from `past[i]` on; its keys and values are in the pages
    `pages[page_begins[i]:page_begins[i + 1]]`, in order, which have room for the new tokens too.
    """

    tokens: np.ndarray  # int64 [tokens]
    begins: np.ndarray  # int32 [sequences + 1]
    past: np.ndarray  # int32 [sequences]: the tokens whose keys and values are in the pages
    pages: np.ndarray  # int32 [pages of all sequences]
    page_begins: np.ndarray  # int32 [sequences + 1]
    lengths: np.ndarray  # int32 [sequences]: of the whole prompt, or with the new token; some positions depend on it
    scored: np.ndarray  # int32 [scored]: indices of the tokens after which scores are wanted


class PagedNetwork(Protocol):
    """A decoder-only network whose keys and values are in pages. Called by one thread at a time."""

    @property
    def page_size(self) -> int:
        """The number of tokens in a page."""

    @property
    def page_count(self) -> int:
        """The number of pages: those of all layers with the same number belong together."""

    def run(self, step: PagedStep) -> np.ndarray:
        """Compute a step, keep its keys and values, and return scores float32 [scored, vocabulary]."""

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy the keys and values of pages: (from, to) each; no page is both."""

    def close(self) -> None:
        """Release weights and pages."""
