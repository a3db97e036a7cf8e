"""Turns pages into the input of a page-element detector: image UINT8 [pages, height, width, channels] or encoded_image
BYTES [pages, 1] -> input FP32 [pages, 3, 1024, 1024], page_size INT64 [pages, 2] (height, width).

Written by `slipway convert`; runs in Slipway, and in NVIDIA Triton after `pip install "slipway-serving[documents]"`
into the Python that runs its models. A request has one of the two inputs. Encoded pages are PNG, JPEG, WebP, TIFF or
BMP files, and those of one request may differ in size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.runtime import Code, SlipwayError, open_page, page_batch

IMAGE, ENCODED = "image", "encoded_image"


class TritonPythonModel:
    """Prepares pages for the detector."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately, so that one bad page does not fail the others."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Prepare the pages of one request."""
        try:
            batches = [page_batch([page]) for page in pages(request)]
        except SlipwayError as error:
            code = getattr(pb_utils.TritonError, error.code.name)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.message, code))
        pixels = np.concatenate([batch.pixels for batch in batches])
        sizes = np.array([batch.sizes[0] for batch in batches], np.int64)
        return pb_utils.InferenceResponse([pb_utils.Tensor("input", pixels), pb_utils.Tensor("page_size", sizes)])


def pages(request: pb_utils.InferenceRequest) -> Iterator[np.ndarray]:
    """Yield the pages of a request, decoded one at a time, because eight large ones together take gigabytes.

    Raise SlipwayError if it has both inputs or neither, if it has no pages, or if one of them is not an image.
    """
    image, encoded = (pb_utils.get_input_tensor_by_name(request, name) for name in (IMAGE, ENCODED))
    if (image is None) == (encoded is None):
        found = "neither" if image is None else "both"
        raise SlipwayError(Code.INVALID_ARG, f"a request needs '{IMAGE}' or '{ENCODED}', but it has {found}")
    rows = (encoded if image is None else image).as_numpy()
    if not len(rows):
        raise SlipwayError(Code.INVALID_ARG, "a request needs at least one page")
    yield from rows if encoded is None else map(open_page, rows.ravel())
