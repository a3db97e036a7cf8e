"""Texts, STRING [rows, 1], to the three inputs of FinBERT, INT32 [rows, tokens]; reads tokenizer_data/, next to it.

The rows of one request are padded to its longest and cut off at the 512 tokens that BERT has positions for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

MAX_TOKENS = 512


class TritonPythonModel:
    """The tokenizer that notebook 02 saved."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the tokenizer; raise FileNotFoundError if it has not been saved yet."""
        file = Path(args["model_repository"], args["model_version"], "tokenizer_data", "tokenizer.json")
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist: run notebook 02 first")
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.enable_padding(pad_id=self.tokenizer.token_to_id("[PAD]"))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately."""
        return [self.tokenize(request) for request in requests]

    def tokenize(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Return the tokens of every row of one request; refuse a text that is not UTF-8."""
        rows = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().ravel()
        try:
            encodings = self.tokenizer.encode_batch([row.decode() for row in rows])
        except UnicodeDecodeError as error:
            refusal = pb_utils.TritonError(f"'text' is not UTF-8: {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        outputs = {
            "input_ids": [each.ids for each in encodings],
            "attention_mask": [each.attention_mask for each in encodings],
            "token_type_ids": [each.type_ids for each in encodings],
        }
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.array(values, np.int32)) for name, values in outputs.items()]
        )
