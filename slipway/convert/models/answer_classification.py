"""Logits to a label and scores: logits FP32 [rows, labels] -> label BYTES [rows, 1], scores FP32 [rows, labels].

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `numpy`). The parameter SCORES says what makes
scores of logits: softmax over the labels, sigmoid of each label by itself, none.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return shares that add up to 1."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the share of each label by itself."""
    shares: np.ndarray = 1 / (1 + np.exp(-logits))
    return shares


def unchanged(logits: np.ndarray) -> np.ndarray:
    """Return the figures of a regression as they are."""
    return logits


SCORES = {"softmax": softmax, "sigmoid": sigmoid, "none": unchanged}


class TritonPythonModel:
    """The labels of one classifier."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels, one per line."""
        self.scores = SCORES[json.loads(args["model_config"])["parameters"]["SCORES"]["string_value"]]
        path = Path(args["model_repository"], args["model_version"], "labels.txt")
        self.labels = np.array(path.read_bytes().split(b"\n")[:-1], dtype=np.object_)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Word every row of one request."""
        logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()
        scores = self.scores(logits)
        label = self.labels[logits.argmax(-1)][:, None]
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("label", label), pb_utils.Tensor("scores", scores.astype(np.float32))]
        )
