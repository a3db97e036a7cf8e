"""How probable a text is to a model: its tokens are computed in pieces, on pages of their own."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.transformer.openvino.network import OpenVinoModel
from slipway.transformer.paged.step import PagedStep

PIECE: Final = 256  # tokens whose scores over the vocabulary are in memory together


def mean_negative_log_probability(model: OpenVinoModel, ids: np.ndarray) -> float:
    """Return the mean over the tokens of `ids` [tokens] after the first, 0 if there is none."""
    if len(ids) < 2:
        return 0.0
    inputs, targets, size = ids[:-1].astype(np.int64), ids[1:], model.page_size
    network = model.network(-(-len(inputs) // size))
    total = 0.0
    for start in range(0, len(inputs), PIECE):
        piece = inputs[start : start + PIECE]
        pages = -(-(start + len(piece)) // size)
        scores = network.run(
            PagedStep(
                tokens=piece,
                begins=np.array([0, len(piece)], np.int32),
                past=np.array([start], np.int32),
                pages=np.arange(pages, dtype=np.int32),
                page_begins=np.array([0, pages], np.int32),
                lengths=np.array([len(ids)], np.int32),
                scored=np.arange(len(piece), dtype=np.int32),
            )
        )
        largest = scores.max(axis=1)
        chosen = scores[np.arange(len(piece)), targets[start : start + PIECE]]
        sums = np.exp(scores - largest[:, None]).sum(axis=1, dtype=np.float64)
        total += float(np.sum(np.log(sums) + largest - chosen))
    network.close()
    return total / len(targets)
