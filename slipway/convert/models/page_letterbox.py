"""Turns pages into the input of a page-element detector: image UINT8 [pages, height, width, channels] or encoded_image
BYTES [pages, 1] -> input FP32 [pages, 3, 1024, 1024], page_size INT64 [pages, 2] (height, width).

Written by `slipway convert`; runs in Slipway, and in NVIDIA Triton after `pip install "slipway-serving[documents]"`
into the Python that runs its models. A request has one of the two inputs. Encoded pages are PNG, JPEG, WebP, TIFF or
BMP files, and those of one request may differ in size.
"""

from __future__ import annotations

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
            batch = page_batch(pages(request))
        except SlipwayError as error:
            code = getattr(pb_utils.TritonError, error.code.name)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.message, code))
        sizes = np.array(batch.sizes, np.int64)
        return pb_utils.InferenceResponse([pb_utils.Tensor("input", batch.pixels), pb_utils.Tensor("page_size", sizes)])


def pages(request: pb_utils.InferenceRequest) -> list[np.ndarray]:
    """Return the pages of a request; raise SlipwayError if it has both inputs or none, or a page is not an image."""
    image, encoded = (pb_utils.get_input_tensor_by_name(request, name) for name in (IMAGE, ENCODED))
    if (image is None) == (encoded is None):
        found = "neither" if image is None else "both"
        message = f"a request needs '{IMAGE}' or '{ENCODED}', but it has {found}"
        raise SlipwayError(Code.INVALID_ARG, message)
    if encoded is None:
        return list(image.as_numpy())
    return [open_page(each) for each in encoded.as_numpy().ravel()]
