"""Completes prompts of token ids as OpenAI's API does: each row is an order, and its text comes back in events.

Written by `slipway convert`, for the routes /v1/completions and /v1/chat/completions of the server; runs in Slipway,
and in NVIDIA Triton after `pip install "slipway-serving[generate]"` into the Python that runs its models. The parameter
CHECKPOINT is the path of the checkpoint, relative to this model's directory; it belongs to another model, with which
this one shares the weights in memory in Slipway. An order is a JSON object, for example
{"prompt": [1, 2], "max_tokens": 9, "temperature": 0.7, "top_k": 0, "seed": 1, "stop": ["."], "logprobs": 2, "pieces":
true}; an event is one too: {"row": 0, "text": "a cat", "finish_reason": "stop", "tokens": 3, "log_probability": -1.5}.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.runtime import CompletionModel, SlipwayError

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One instance; all instances in one process share the weights."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the checkpoint, which is in the other model's directory."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        checkpoint = Path(args["model_repository"]).resolve() / parameters["CHECKPOINT"]
        try:
            self.model = CompletionModel(checkpoint, parameters, name=args["model_name"])
        except SlipwayError as error:
            raise pb_utils.TritonModelException(error.message) from error
        try:
            self.model.publish(pb_utils, args["model_name"])
        except pb_utils.TritonModelException as error:  # such as of a server that was started without metrics
            logging.getLogger("slipway").info("%s: no metrics of the running batch: %s", args["model_name"], error)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> None:
        """Generate for all requests; those that join the running batch get their responses later."""
        self.model.begin([(self.arrays(request), EventSink(request)) for request in requests])

    @staticmethod
    def arrays(request: pb_utils.InferenceRequest) -> dict[str, np.ndarray]:
        """Return the orders of a request."""
        return {"completion": pb_utils.get_input_tensor_by_name(request, "completion").as_numpy()}

    def finalize(self) -> None:
        """Release the engine."""
        self.model.close()


class EventSink:
    """Sends the events of one request."""

    def __init__(self, request: pb_utils.InferenceRequest) -> None:
        self.sender = request.get_response_sender()

    def event(self, event: Mapping[str, Any]) -> None:
        """Send an event."""
        array = np.array([[json.dumps(event).encode("utf-8")]], dtype=np.object_)
        self.sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("event", array)]))

    def wanted(self) -> bool:
        """Return whether to go on: False once the request is cancelled."""
        return not self.sender.is_cancelled()

    def close(self) -> None:
        """End the response."""
        self.sender.send(flags=FINAL)

    def fail(self, error: SlipwayError) -> None:
        """Send the error."""
        code = getattr(pb_utils.TritonError, error.code.name)
        triton = pb_utils.TritonError(error.message, code)
        self.sender.send(pb_utils.InferenceResponse(error=triton), flags=FINAL)
