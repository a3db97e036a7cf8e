"""Streams text as it is generated: one response per piece of whole characters, the last one flagged final.

Written by `slipway convert`; runs in Slipway, and in NVIDIA Triton after `pip install "slipway-serving[generate]"` into
the Python that runs its models. The parameter CHECKPOINT is the path of the checkpoint, relative to this model's
directory; it belongs to another model, with which this one shares the weights in memory in Slipway. In Triton, it
loads its own copy. With beam_width above 1, the text is only known at the end and is sent as one piece.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

from slipway.runtime import (
    Code,
    GenerationModel,
    SlipwayError,
    SourceLanguage,
    TextEncoder,
    TextPieces,
    parameter_arrays,
)

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """One instance; all instances in one process share the weights."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open tokenizer.json and the checkpoint, which is in the other model's directory."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.names = [each["name"] for each in config["input"] if each["name"] != "text"]
        self.cleaned = parameters.get("CLEAN_UP") == "1"
        self.prompt = parameters.get("PROMPT", "")
        directory = Path(args["model_repository"])
        self.tokenizer = Tokenizer.from_file(str(directory / args["model_version"] / "tokenizer.json"))
        self.encoder = TextEncoder(self.tokenizer)
        self.language = SourceLanguage(self.tokenizer, parameters)
        checkpoint = directory.resolve() / parameters["CHECKPOINT"]
        try:
            self.model = GenerationModel(checkpoint, parameters, name=args["model_name"])
        except SlipwayError as error:
            raise pb_utils.TritonModelException(error.message) from error

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> None:
        """Generate for all requests; those that join the running batch get their responses later."""
        asked = []
        for request in requests:
            sink = PieceSink(request)
            try:
                arrays = self.arrays(request)
            except SlipwayError as error:
                sink.fail(error)
                continue
            cleaned = self.cleaned and not self.model.holds_to_form(arrays)
            sink.pieces = TextPieces(self.tokenizer, cleaned=cleaned)
            asked.append((arrays, sink))
        self.model.begin(asked)

    def arrays(self, request: pb_utils.InferenceRequest) -> dict[str, np.ndarray]:
        """Return the request's text as ids, and the optional inputs that are present."""
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().ravel()
        if len(texts) != 1:
            raise SlipwayError(Code.INVALID_ARG, f"a stream takes one text, but the request has {len(texts)}")
        try:
            text = self.prompt + texts[0].decode("utf-8")
        except UnicodeDecodeError as error:
            raise SlipwayError(Code.INVALID_ARG, f"input 'text' is not valid UTF-8: {error}") from error
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self.names}
        arrays = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
        arrays = {**parameter_arrays(request.parameters()), **arrays}
        ids = self.language.ids(self.encoder.encode(text), self.language.asked(arrays))
        return {"input_ids": np.array([ids], dtype=np.int64), **arrays}

    def finalize(self) -> None:
        """Release the engine."""
        self.model.close()


class PieceSink:
    """Sends the text generated for one request in pieces."""

    pieces: TextPieces  # set before the first token

    def __init__(self, request: pb_utils.InferenceRequest) -> None:
        self.sender = request.get_response_sender()

    def token(self, row: int, token: int) -> bool:
        """Send the text that the token completes; return True, which stops the row, once the request is cancelled."""
        piece = self.pieces.push(token)
        if piece:
            self.sender.send(response(piece))
        return self.sender.is_cancelled()

    def wanted(self) -> bool:
        """Return whether to continue beam search: False once the request is cancelled."""
        return not self.sender.is_cancelled()

    def answer(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Send the rest of the text, flagged final."""
        ids = arrays["output_ids"][0, 0, : arrays["sequence_length"][0, 0]]
        self.sender.send(response(self.pieces.rest(ids.tolist())), flags=FINAL)

    def fail(self, error: SlipwayError) -> None:
        """Send the error."""
        code = getattr(pb_utils.TritonError, error.code.name)
        triton = pb_utils.TritonError(error.message, code)
        self.sender.send(pb_utils.InferenceResponse(error=triton), flags=FINAL)


def response(text: str) -> pb_utils.InferenceResponse:
    """Return a response that contains `text`."""
    array = np.array([[text.encode("utf-8")]], dtype=np.object_)
    return pb_utils.InferenceResponse([pb_utils.Tensor("generated_text", array)])
