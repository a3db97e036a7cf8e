"""Turns a detector's queries into objects: logits, pred_boxes, original_size -> boxes, scores, labels of each image.

    logits         FP32 [rows, queries, classes]
    pred_boxes     FP32 [rows, queries, 4]: centre x, centre y, width, height, as shares of the image
    original_size  INT64 [rows, 2]: height and width of the image in pixels
    threshold      FP32 [rows, 1], optional: objects with a higher score are returned (default 0.5)
    boxes          FP32 [rows, objects, 4]: left, top, right, bottom in pixels of the image
    scores         FP32 [rows, objects]
    labels         BYTES [rows, objects]

Images of one request with fewer objects than another are filled up with boxes and scores of 0 and empty labels.
Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `numpy`). The parameter SCORES selects how
objects are read: `softmax`, the best label of each query, whose last class means "no object", or `sigmoid`, the best of
all pairs of query and label, best first. MOST bounds the objects of an image then; 0: as many as there are queries.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

THRESHOLD = 0.5


def by_query(logits: np.ndarray, _most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, classes and queries: the best class of each query but the last, which means "no object"."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares = (powers / powers.sum(-1, keepdims=True))[:, :-1]
    return shares.max(-1, initial=0), shares.argmax(-1), np.arange(len(logits))


def by_pair(logits: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, classes and queries of the best pairs of query and class, best first."""
    flat = logits.ravel()
    order = np.argsort(-flat, kind="stable")[: min(most or len(logits), flat.size)]
    scores = 1 / (1 + np.exp(-np.clip(flat[order], -80, 80)))
    return scores, order % logits.shape[1], order // logits.shape[1]


READ = {"softmax": by_query, "sigmoid": by_pair}


class TritonPythonModel:
    """Reads the objects of one detector."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels, one per line, and how objects are read."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.read = READ[parameters["SCORES"]["string_value"]]
        self.most = int(parameters["MOST"]["string_value"])
        path = Path(args["model_repository"], args["model_version"], "labels.txt")
        self.labels = np.array(path.read_bytes().split(b"\n")[:-1], dtype=np.object_)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Return the objects in every image of one request."""
        logits, boxes, sizes = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("logits", "pred_boxes", "original_size")
        )
        given = pb_utils.get_input_tensor_by_name(request, "threshold")
        thresholds = np.full(len(logits), THRESHOLD) if given is None else given.as_numpy().reshape(-1)
        if not ((thresholds >= 0) & (thresholds <= 1)).all():
            refusal = f"input 'threshold' should be from 0 to 1 but is {thresholds.tolist()}"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(refusal, pb_utils.TritonError.INVALID_ARG))
        objects = [self.objects(*row) for row in zip(logits, boxes, sizes, thresholds)]
        return pb_utils.InferenceResponse(together(objects))

    def objects(
        self, logits: np.ndarray, boxes: np.ndarray, size: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes in pixels, scores and labels of one image."""
        scores, classes, queries = self.read(logits, self.most)
        kept = scores > threshold
        height, width = size.tolist()
        centres, spans = boxes[queries[kept], :2], boxes[queries[kept], 2:]
        corners = np.concatenate([centres - spans / 2, centres + spans / 2], axis=-1)
        scale = np.array([width, height, width, height], np.float32)
        return corners * scale, scores[kept], self.labels[classes[kept]]


def together(objects: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[pb_utils.Tensor]:
    """Return the objects of all images as tensors, filled up to the largest number."""
    most = max((len(scores) for _, scores, _ in objects), default=0)
    boxes = np.zeros((len(objects), most, 4), np.float32)
    scores = np.zeros((len(objects), most), np.float32)
    labels = np.full((len(objects), most), b"", dtype=np.object_)
    for row, (corners, values, names) in enumerate(objects):
        boxes[row, : len(values)], scores[row, : len(values)], labels[row, : len(values)] = corners, values, names
    return [pb_utils.Tensor("boxes", boxes), pb_utils.Tensor("scores", scores), pb_utils.Tensor("labels", labels)]
