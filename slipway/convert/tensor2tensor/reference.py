"""What a model has to generate: greedy and beam search as tensor2tensor does them, on the plain network."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.subwords import END_ID, PAD_ID
from slipway.convert.agreement import Generated
from slipway.convert.tensor2tensor.network import Hypotheses, PlainTransformer
from slipway.convert.thresholds import TOLERANCE

NAME: Final = "a plain implementation in float32, one row at a time"
_Beam = tuple[float, tuple[int, ...]]  # log-probability and ids


class ReferenceTranslator:
    """Searches on a plain network."""

    def __init__(self, network: PlainTransformer) -> None:
        self._network = network

    def greedy(self, ids: np.ndarray, most: int) -> Generated:
        """Return the greedy translation of the ids int64 [tokens] in at most `most` tokens, with what ties at each."""
        state = self._network.read(ids)
        found: list[int] = []
        ties = []
        while len(found) < most and END_ID not in found:
            scores = self._network.step(state, np.array([found[-1] if found else PAD_ID]))[0]
            best = scores.max()
            ties.append(frozenset(np.flatnonzero(scores >= best - TOLERANCE * max(1.0, abs(best))).tolist()))
            found.append(int(scores.argmax()))
        return Generated(tuple(found), tuple(ties))

    def beams(self, ids: np.ndarray, most: int, *, width: int, alpha: float) -> Generated:
        """Return the best hypothesis of beam search and its score, log-probability / ((5 + length) / 6) ** alpha."""
        state = self._network.read(ids)
        alive: list[_Beam] = [(0.0, ())]
        finished: list[_Beam] = []
        for length in range(1, most + 1):
            norm = ((5 + length) / 6) ** alpha
            candidates = self._continued(state, alive, 2 * width)
            finished += [(total / norm, found) for total, _, found in candidates if found[-1] == END_ID]
            kept = [each for each in candidates if each[2][-1] != END_ID][:width]
            alive = [(total, found) for total, _, found in kept]
            state.follow([parent for _, parent, _ in kept])
            longest = ((5 + most) / 6) ** alpha
            if finished and max(finished)[0] > alive[0][0] / longest:
                break
        score, best = max(finished) if finished else (alive[0][0] / norm, alive[0][1])
        return Generated(best, (), score)

    def _continued(self, state: Hypotheses, alive: list[_Beam], count: int) -> list[tuple[float, int, tuple[int, ...]]]:
        """Return the best continuations: log-probability, parent, ids."""
        last = np.array([found[-1] if found else PAD_ID for _, found in alive])
        totals = self._network.step(state, last) + np.array([total for total, _ in alive])[:, None]
        best = np.argsort(-totals, axis=None, kind="stable")[:count]
        places = zip(best // totals.shape[1], best % totals.shape[1], strict=True)
        return [(float(totals[at, token]), int(at), (*alive[at][1], int(token))) for at, token in places]
