"""Make the arrays of a step from the pieces that the scheduler has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from slipway.transformer.paged.scheduler import Piece
from slipway.transformer.paged.step import PagedStep


def assemble(pieces: Sequence[Piece], page_size: int) -> PagedStep:
    """Return a step that computes `pieces`, in their order. Scores are in the order of those that are `scored`: of the
    last token of each, and of every token of its draft."""
    ends = [piece.end + len(piece.draft) for piece in pieces]
    pages = [piece.sequence.pages[: -(-end // page_size)] for piece, end in zip(pieces, ends, strict=True)]
    begins = [0, *accumulate(end - piece.begin for piece, end in zip(pieces, ends, strict=True))]
    tokens = [token for piece in pieces for token in (*piece.sequence.tokens[piece.begin : piece.end], *piece.draft)]
    scored = [
        place
        for piece, end in zip(pieces, begins[1:], strict=True)
        if piece.scored
        for place in range(end - 1 - len(piece.draft), end)
    ]
    return PagedStep(
        tokens=np.array(tokens),
        begins=np.array(begins, np.int32),
        past=np.array([piece.begin for piece in pieces], np.int32),
        pages=np.array([page for own in pages for page in own], np.int32),
        page_begins=np.array([0, *accumulate(map(len, pages))], np.int32),
        lengths=np.array([len(piece.sequence.tokens) for piece in pieces], np.int32),
        scored=np.array(scored, np.int32),
    )
