"""Turns token logits into words for the first mask of a text: input_ids INT64 [rows, tokens], logits FP32
[rows, tokens, vocabulary] -> tokens BYTES [rows, 5] and their scores FP32 [rows, 5], most likely first.

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `tokenizers` and `numpy`). The parameter
MASK_ID is the id of the mask token.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

COUNT = 5


class TritonPythonModel:
    """Fills masks with the words of one vocabulary."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open tokenizer.json, which is next to this file."""
        self.mask = int(json.loads(args["model_config"])["parameters"]["MASK_ID"]["string_value"])
        path = Path(args["model_repository"], args["model_version"], "tokenizer.json")
        self.tokenizer = Tokenizer.from_file(str(path))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately, so that a text without a mask does not fail the others."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Fill the first mask of every row of one request."""
        ids = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()
        logits = pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()
        if not (ids == self.mask).any(-1).all():
            text = f"every text must contain the mask token '{self.tokenizer.id_to_token(self.mask)}'"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, pb_utils.TritonError.INVALID_ARG))
        best, scores = likeliest(ids == self.mask, logits)
        words = np.empty(best.shape, dtype=np.object_)
        texts = (self.tokenizer.decode([token], skip_special_tokens=False) for token in best.ravel().tolist())
        words.ravel()[:] = [text.strip().encode("utf-8") for text in texts]
        return pb_utils.InferenceResponse([pb_utils.Tensor("tokens", words), pb_utils.Tensor("scores", scores)])


def likeliest(masked: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the most likely ids for each row's first mask, [rows, 5], and their FP32 probabilities."""
    row = logits[np.arange(len(masked)), masked.argmax(-1)]
    powers = np.exp(row - row.max(-1, keepdims=True))
    scores = powers / powers.sum(-1, keepdims=True)
    best = np.argsort(-row, axis=-1, kind="stable")[:, :COUNT]
    return best, np.take_along_axis(scores, best, -1).astype(np.float32)
