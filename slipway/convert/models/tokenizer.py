"""Turns text into token ids: one or two BYTES inputs -> input_ids, attention_mask, ... INT64 [rows, tokens].

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `tokenizers` and `numpy`). Truncation to the
model's length and padding to the longest row of a request are set in tokenizer.json. The config's parameters add text:
PROMPT is put before every text; with HYPOTHESIS, every text is paired with every label, and the ids have one more
dimension, [rows, labels, tokens].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class TritonPythonModel:
    """The tokenizer of one checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open tokenizer.json, which is next to this file."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        version_directory = Path(args["model_repository"], args["model_version"])
        self.tokenizer = Tokenizer.from_file(str(version_directory / "tokenizer.json"))
        self.inputs = [each["name"] for each in config["input"]]
        self.names = [each["name"] for each in config["output"]]
        self.prompt = parameters.get("PROMPT", "")
        self.hypothesis = parameters.get("HYPOTHESIS", "")

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately, so that one bad text does not fail the others."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Encode every row of one request."""
        try:
            columns = [self.texts(request, name) for name in self.inputs]
            shape, texts = self.together(columns)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        encodings = self.tokenizer.encode_batch(texts)
        return pb_utils.InferenceResponse([self.tensor(name, encodings, shape) for name in self.names])

    def texts(self, request: pb_utils.InferenceRequest, name: str) -> np.ndarray:
        """Return one input as an array of str; raise ValueError if it is not valid UTF-8."""
        array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        texts = np.empty(array.size, dtype=np.object_)
        try:
            texts[:] = [element.decode("utf-8") for element in array.ravel()]
        except UnicodeDecodeError as error:
            raise ValueError(f"input '{name}' is not valid UTF-8: {error}") from error
        return texts.reshape(array.shape)

    def together(self, columns: list[np.ndarray]) -> tuple[tuple[int, ...], list[Any]]:
        """Return the shape of the batch, and the texts or pairs of texts to encode."""
        first = columns[0]
        if self.hypothesis:
            labels = columns[1]
            if labels.shape[1] < 2:  # one label alone would always win
                raise ValueError(f"input 'labels' needs at least two labels to choose from, but has {labels.shape[1]}")
            pairs = [
                (text, self.hypothesis.replace("{}", label))
                for row, text in enumerate(first[:, 0])
                for label in labels[row]
            ]
            return labels.shape, pairs
        if len(columns) == 2:
            return first.shape[:1], list(zip(first.ravel(), columns[1].ravel()))
        return first.shape[:1], [self.prompt + text for text in first.ravel()]

    def tensor(self, name: str, encodings: list[Any], shape: tuple[int, ...]) -> pb_utils.Tensor:
        """Return one output; `offsets` are character positions in the last text, -1 for tokens outside it."""
        if name == "offsets":
            rows = [offsets(encoding, len(self.inputs) - 1) for encoding in encodings]
        else:
            rows = [getattr(encoding, FIELDS[name]) for encoding in encodings]
        array = np.array(rows, dtype=np.int64)
        if not encodings:  # a request without rows
            array = array.reshape((0, 0, 2) if name == "offsets" else (0, 0))
        return pb_utils.Tensor(name, array.reshape((*shape, *array.shape[1:])))


def offsets(encoding: Any, last: int) -> list[tuple[int, int]]:
    """Return the start and end of each token in the last text, (-1, -1) for tokens outside it."""
    return [place if sequence == last else (-1, -1) for place, sequence in zip(encoding.offsets, encoding.sequence_ids)]
