"""Turns token ids into text: output_ids INT64 [rows, sequences, tokens], sequence_length INT64 [rows, sequences] ->
generated_text BYTES [rows, sequences].

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `tokenizers` and `numpy`). Special tokens are
omitted, as in `decode(..., skip_special_tokens=True)` of transformers. If some of them are markup that belongs to the
text, the config's parameter OMITTED lists the ids to omit instead. If the checkpoint's tokenizer removes the spaces
before punctuation, the parameter CLEAN_UP is 1; a text that a request holds to a form keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

# The spaces that `clean_up_tokenization_spaces` of transformers removes, in its order.
APART = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
# Parameters of a request that hold its text to a form, each also as guided_....
FORMS = ("json_schema", "json_object", "regex", "choice", "grammar")
GUIDED = ("guided_json", "guided_json_object", "guided_regex", "guided_choice", "guided_grammar")


class TritonPythonModel:
    """The detokenizer of one checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open tokenizer.json, which is next to this file."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self.cleaned = parameters.get("CLEAN_UP", {}).get("string_value") == "1"
        omitted = parameters.get("OMITTED", {}).get("string_value", "")
        self.omitted = frozenset(int(token) for token in omitted.split())
        directory = Path(args["model_repository"], args["model_version"])
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Decode every sequence of one request."""
        ids = pb_utils.get_input_tensor_by_name(request, "output_ids").as_numpy()
        lengths = pb_utils.get_input_tensor_by_name(request, "sequence_length").as_numpy()
        rows = ids.reshape(lengths.size, -1) if lengths.size else []
        kept = [row[:length].tolist() for row, length in zip(rows, lengths.ravel())]
        if self.omitted:
            kept = [[token for token in row if token not in self.omitted] for row in kept]
        decoded = self.tokenizer.decode_batch(kept, skip_special_tokens=not self.omitted)
        texts = np.empty(lengths.size, dtype=np.object_)
        cleaned = self.cleaned and not of_a_form(json.loads(request.parameters() or "{}"))
        texts[:] = [(clean_up(text) if cleaned else text).encode("utf-8") for text in decoded]
        return pb_utils.InferenceResponse([pb_utils.Tensor("generated_text", texts.reshape(lengths.shape))])


def of_a_form(names: Iterable[str]) -> bool:
    """Return whether one of a request's parameters holds the text to a form."""
    return any(name in FORMS or name in GUIDED for name in names)


def clean_up(text: str) -> str:
    """Return a text without the spaces before punctuation and contractions."""
    for apart in APART:
        text = text.replace(apart, apart.strip())
    return text
