"""The angles of rotary positions, as cosine and sine of each new token. Knows numpy only.

They are computed outside the graph, because some depend on the length of the sequence. Angles are float32, as in
`transformers`.
"""

from __future__ import annotations

import numpy as np

from slipway.transformer.rotary_frequencies import depends_on_length, inverse_frequencies
from slipway.transformer.spec import Rotary


class RotaryAngles:
    """Cosine and sine for tokens at given positions of sequences of given lengths."""

    def __init__(self, rotary: Rotary) -> None:
        self._rotary = rotary
        self._fixed = None if depends_on_length(rotary) else inverse_frequencies(rotary)

    def at(self, positions: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and sine, float32 [tokens, 1, 1, size], of `positions` [tokens].

        `counts` are the new tokens of each sequence, `lengths` the lengths of the sequences.
        """
        frequencies = self._fixed
        if frequencies is None:
            rows = [inverse_frequencies(self._rotary, length) for length in lengths.tolist()]
            frequencies = np.repeat(np.stack(rows), counts, axis=0)
        angles = positions.astype(np.float32)[:, None] * frequencies
        magnitude = np.float32(self._rotary.magnitude)
        return self._spread(np.cos(angles) * magnitude), self._spread(np.sin(angles) * magnitude)

    def _spread(self, half: np.ndarray) -> np.ndarray:
        """Return [tokens, size / 2] as [tokens, 1, 1, size]: one figure for each number of a head."""
        whole = np.repeat(half, 2, axis=1) if self._rotary.interleaved else np.concatenate((half, half), axis=1)
        return whole[:, None, None]
