"""Turns token logits into entities: text BYTES [rows, 1], logits FP32 [rows, tokens, labels], offsets INT64
[rows, tokens, 2] -> entities BYTES [rows, 1]: a JSON list of {"entity", "score", "start", "end", "word"} per row.

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `numpy`). Adjacent tokens of the same kind
form one entity: the labels B-X, I-X and, in BIOES, E-X and S-X are of kind X; B- and S- start a new entity; O is
for tokens outside any entity. "start" and "end" are character positions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

PREFIXES = ("B", "I", "E", "S")


class TritonPythonModel:
    """Turns the logits of one tagger into entities."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels, one per line."""
        path = Path(args["model_repository"], args["model_version"], "labels.txt")
        self.labels = path.read_text(encoding="utf-8").split("\n")[:-1]

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Return the entities of every row of one request."""
        texts, logits, offsets = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("text", "logits", "offsets")
        )
        scores = np.exp(logits - logits.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        rows = np.empty((len(texts), 1), dtype=np.object_)
        for row, text in enumerate(texts.ravel()):
            found = entities(text.decode("utf-8"), self.labels, scores[row], offsets[row])
            rows[row, 0] = json.dumps(found, ensure_ascii=False).encode("utf-8")
        return pb_utils.InferenceResponse([pb_utils.Tensor("entities", rows)])


def entities(text: str, labels: list[str], scores: np.ndarray, offsets: np.ndarray) -> list[dict[str, Any]]:
    """Return the entities of one text: scores [tokens, labels], offsets [tokens, 2], negative outside the text."""
    groups: list[dict[str, Any]] = []
    previous = "O"
    for token, (start, end) in zip(scores, offsets.tolist()):
        if start < 0 or start == end:
            continue
        label = labels[int(token.argmax())]
        prefix, dash, name = label.partition("-")
        kind = name if dash and prefix in PREFIXES else label
        if label != "O":
            if kind == previous and not (dash and prefix in ("B", "S")):
                groups[-1]["end"] = end
                groups[-1]["scores"].append(float(token.max()))
            else:
                groups.append({"entity": kind, "scores": [float(token.max())], "start": start, "end": end})
        previous = kind if label != "O" else "O"
    return [
        {
            "entity": group["entity"],
            "score": sum(group["scores"]) / len(group["scores"]),
            "start": group["start"],
            "end": group["end"],
            "word": text[group["start"] : group["end"]],
        }
        for group in groups
    ]
