"""Turns the entailment logit of each candidate label into scores: labels BYTES [rows, n], entailment FP32 [rows, n] ->
the best label BYTES [rows, 1], and scores FP32 [rows, n] in the order of the labels, which add up to 1.

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `numpy`).
"""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Chooses one of the labels in a request."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Choose the label for every row of one request."""
        labels = pb_utils.get_input_tensor_by_name(request, "labels").as_numpy()
        logits = pb_utils.get_input_tensor_by_name(request, "entailment").as_numpy()
        scores = np.exp(logits - logits.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        label = np.take_along_axis(labels, logits.argmax(-1)[:, None], axis=1)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("label", label), pb_utils.Tensor("scores", scores.astype(np.float32))]
        )
