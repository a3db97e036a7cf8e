"""Generates output token ids from input token ids: the model itself, with one engine for all requests.

Written by `slipway convert`; runs in Slipway, and in NVIDIA Triton 24.04 or newer after `pip install
"slipway-serving[generate]"` into the Python that runs its models. The checkpoint is next to this file. The config's
parameters select the engine and set the default of every optional input. The requests of one batch may differ in
length and settings, and each gets its response as soon as its own rows are done.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.runtime import GenerationModel, SlipwayError, parameter_arrays

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One instance; all instances in one process share the weights."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the checkpoint, which is next to this file."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.names = [each["name"] for each in config["input"]]
        directory = Path(args["model_repository"], args["model_version"])
        try:
            self.model = GenerationModel(directory, parameters, name=args["model_name"])
        except SlipwayError as error:
            raise pb_utils.TritonModelException(error.message) from error
        logging.getLogger("slipway").info("%s: %s", args["model_name"], self.model.description)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[None]:
        """Generate for all requests; those that join the running batch get their responses later."""
        self.model.begin([(self.arrays(request), SenderSink(request)) for request in requests])
        return [None] * len(requests)

    def arrays(self, request: pb_utils.InferenceRequest) -> dict[str, np.ndarray]:
        """Return the inputs and parameters that are present in the request."""
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self.names}
        given = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
        return {**parameter_arrays(request.parameters()), **given}

    def finalize(self) -> None:
        """Release the engine."""
        self.model.close()


class SenderSink:
    """Responds to one request through its sender, as soon as that request is done, without waiting for the batch."""

    def __init__(self, request: pb_utils.InferenceRequest) -> None:
        self.sender = request.get_response_sender()

    def token(self, row: int, token: int) -> bool:
        """Ignore the token; return True, which stops the row, once the request is cancelled."""
        return self.sender.is_cancelled()

    def wanted(self) -> bool:
        """Return whether to continue beam search: False once the request is cancelled."""
        return not self.sender.is_cancelled()

    def answer(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Send the outputs."""
        outputs = [pb_utils.Tensor(name, array) for name, array in arrays.items()]
        self.sender.send(pb_utils.InferenceResponse(outputs), flags=FINAL)

    def fail(self, error: SlipwayError) -> None:
        """Send the error."""
        code = getattr(pb_utils.TritonError, error.code.name)
        triton = pb_utils.TritonError(error.message, code)
        self.sender.send(pb_utils.InferenceResponse(error=triton), flags=FINAL)
