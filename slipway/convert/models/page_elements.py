"""Turns the output of a page-element detector into rows per label: output FP32 [pages, rows, 5 + labels], page_size
INT64 [pages, 2] -> an output for each label, FP32 [pages, n, 5]: x1, y1, x2, y2 in parts of the page, score; best
first.

Written by `slipway convert`; runs in Slipway, and in NVIDIA Triton after `pip install slipway-serving` into the Python
that runs its models. Pages of one request with fewer elements of a label than others are filled up with rows of zeros.
The outputs of the config are the labels, in the order of the detector's classes. Its parameters set what counts as an
element: least_product (0.48), most_overlap (0.5), least_score (0.1), most (512); with GRID "undecoded", the detector
leaves the decoding of its grid to this model.
"""

from __future__ import annotations

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.runtime import DetectionRules, SlipwayError, decoded_grid, page_elements

RULES = {"least_product": float, "most_overlap": float, "least_score": float, "most": int}


class TritonPythonModel:
    """Finds the elements of pages."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels and rules from the config."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self.labels = tuple(each["name"] for each in config["output"])
        self.undecoded = parameters.get("GRID") == "undecoded"
        try:
            rules = {name: read(parameters[name]) for name, read in RULES.items() if name in parameters}
            self.rules = DetectionRules(self.labels, **rules)
        except ValueError as error:
            raise pb_utils.TritonModelException(f"parameters {', '.join(RULES)}: {error}") from error
        except SlipwayError as error:
            raise pb_utils.TritonModelException(error.message) from error

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Find the elements of the pages of one request."""
        output, sizes = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("output", "page_size")
        )
        pairs = [(height, width) for height, width in sizes.tolist()]
        try:
            pages = page_elements(decoded_grid(output) if self.undecoded else output, pairs, self.rules)
        except SlipwayError as error:
            code = getattr(pb_utils.TritonError, error.code.name)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.message, code))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(label, filled([page[label] for page in pages])) for label in self.labels]
        )


def filled(pages: list[np.ndarray]) -> np.ndarray:
    """Return the rows of all pages as FP32 [pages, most rows, 5], with zeros after the rows of a page."""
    rows = np.zeros((len(pages), max(map(len, pages), default=0), 5), np.float32)
    for filling, found in zip(rows, pages):
        filling[: len(found)] = found
    return rows
