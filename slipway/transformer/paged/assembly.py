"""Make the arrays of a step from the pieces that the scheduler has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from slipway.transformer.paged.scheduler import Piece
from slipway.transformer.paged.step import PagedStep


def assemble(pieces: Sequence[Piece], page_size: int) -> PagedStep:
    """Return a step that computes `pieces`, in their order; scores are in the order of those that are `scored`."""
    pages = [piece.sequence.pages[: -(-piece.end // page_size)] for piece in pieces]
    begins = [0, *accumulate(piece.end - piece.begin for piece in pieces)]
    return PagedStep(
        tokens=np.array([token for piece in pieces for token in piece.sequence.tokens[piece.begin : piece.end]]),
        begins=np.array(begins, np.int32),
        past=np.array([piece.begin for piece in pieces], np.int32),
        pages=np.array([page for own in pages for page in own], np.int32),
        page_begins=np.array([0, *accumulate(map(len, pages))], np.int32),
        lengths=np.array([len(piece.sequence.tokens) for piece in pieces], np.int32),
        scored=np.array([end - 1 for piece, end in zip(pieces, begins[1:], strict=True) if piece.scored], np.int32),
    )
