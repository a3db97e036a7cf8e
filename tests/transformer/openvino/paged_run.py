"""Drives a paged network without a scheduler: sequences with pages of their own, advanced by any number of tokens."""

from __future__ import annotations

import numpy as np

from slipway.transformer.paged.step import PagedStep


class PagedRun:
    """Some sequences on one network; their pages are taken in turn, so that neighbours are never adjacent."""

    def __init__(self, network, sequences):
        self._network = network
        self._sequences = [np.asarray(ids, np.int64) for ids in sequences]
        self._done = [0] * len(sequences)
        self._pages = [[] for _ in sequences]
        self._next = 0

    def extend(self, sequence, ids):
        """Append tokens to a sequence."""
        self._sequences[sequence] = np.append(self._sequences[sequence], ids)

    def advance(self, counts):
        """Compute the next `count` tokens of each sequence of {sequence: count}; return the scores after all of them,
        in that order."""
        pieces, past = [], []
        for sequence, count in counts.items():
            start = self._done[sequence]
            pieces.append(self._sequences[sequence][start : start + count])
            past.append(start)
            self._done[sequence] = start + count
            while len(self._pages[sequence]) * self._network.page_size < start + count:
                self._pages[sequence].append(self._next)
                self._next += 1
        pages = [self._pages[sequence] for sequence in counts]
        tokens = np.concatenate(pieces)
        step = PagedStep(
            tokens=tokens,
            begins=np.cumsum([0, *map(len, pieces)]).astype(np.int32),
            past=np.array(past, np.int32),
            pages=np.concatenate(pages).astype(np.int32),
            page_begins=np.cumsum([0, *map(len, pages)]).astype(np.int32),
            lengths=np.array([len(self._sequences[sequence]) for sequence in counts], np.int32),
            scored=np.arange(len(tokens), dtype=np.int32),
        )
        return self._network.run(step)

    def adopt(self, sequence, other, count):
        """Begin a sequence with copies of the pages of another, which has the same first `count` tokens."""
        copies = []
        for page in self._pages[other][: -(-count // self._network.page_size)]:
            copies.append((page, self._next))
            self._pages[sequence].append(self._next)
            self._next += 1
        self._network.copy_pages(copies)
        self._done[sequence] = count
