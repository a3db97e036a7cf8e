"""Turns start and end logits into the answer in a context: context BYTES [rows, 1], start_logits and end_logits FP32
[rows, tokens], offsets INT64 [rows, tokens, 2] -> answer BYTES [rows, 1], score FP32 [rows, 1], span INT64 [rows, 2].

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `numpy`). The answer is the most likely
span of at most MAX_TOKENS tokens in the context; its bounds are character positions.
"""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as pb_utils

MAX_TOKENS = 15  # as in the pipeline of transformers


class TritonPythonModel:
    """Finds the most likely span in each context."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Find the span of every row of one request."""
        contexts, starts, ends, offsets = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("context", "start_logits", "end_logits", "offsets")
        )
        rows = len(contexts)
        answers = np.empty((rows, 1), dtype=np.object_)
        scores = np.zeros((rows, 1), dtype=np.float32)
        spans = np.zeros((rows, 2), dtype=np.int64)
        for row, context in enumerate(contexts.ravel()):
            scores[row, 0], spans[row] = best_span(starts[row], ends[row], offsets[row])
            answers[row, 0] = context.decode("utf-8")[spans[row, 0] : spans[row, 1]].encode("utf-8")
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("answer", answers), pb_utils.Tensor("score", scores), pb_utils.Tensor("span", spans)]
        )


def best_span(start_logits: np.ndarray, end_logits: np.ndarray, offsets: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Return the probability of the best span and its bounds in characters: the first, and one past the last."""
    inside = offsets[:, 0] >= 0
    if not inside.any():
        return 0.0, (0, 0)
    start, end = (softmax(np.where(inside, logits, -np.inf)) for logits in (start_logits, end_logits))
    best = (-1.0, 0, 0)
    for more in range(min(MAX_TOKENS, len(start))):  # spans with `more` tokens after the first
        together = start[: len(start) - more] * end[more:]
        first = int(together.argmax())
        best = max(best, (float(together[first]), first, first + more), key=lambda span: span[0])
    score, first, last = best
    return score, (int(offsets[first, 0]), int(offsets[last, 1]))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities; a logit of minus infinity gets 0."""
    powers = np.exp(logits - logits.max())
    probabilities: np.ndarray = powers / powers.sum()
    return probabilities
