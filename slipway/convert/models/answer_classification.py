"""Turns logits into label and scores: logits FP32 [rows, labels] -> label BYTES [rows, 1], scores FP32 [rows, labels].

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `numpy`). The parameter SCORES selects the
function from logits to scores: softmax over the labels, sigmoid of each label separately, or none.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return scores that add up to 1."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the score of each label independently of the others."""
    shares: np.ndarray = 1 / (1 + np.exp(-logits))
    return shares


def unchanged(logits: np.ndarray) -> np.ndarray:
    """Return the outputs of a regression unchanged."""
    return logits


SCORES = {"softmax": softmax, "sigmoid": sigmoid, "none": unchanged}


class TritonPythonModel:
    """Turns the logits of one classifier into labels."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels, one per line."""
        self.scores = SCORES[json.loads(args["model_config"])["parameters"]["SCORES"]["string_value"]]
        path = Path(args["model_repository"], args["model_version"], "labels.txt")
        self.labels = np.array(path.read_bytes().split(b"\n")[:-1], dtype=np.object_)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Return the label and scores of every row of one request."""
        logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()
        scores = self.scores(logits)
        label = self.labels[logits.argmax(-1)][:, None]
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("label", label), pb_utils.Tensor("scores", scores.astype(np.float32))]
        )
