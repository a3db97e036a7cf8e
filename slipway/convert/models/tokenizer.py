"""Turns text into token ids: one or two BYTES inputs -> input_ids, attention_mask, ... INT64 [rows, tokens].

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `tokenizers` and `numpy`). Truncation to the
model's length and padding to the longest row of a request are set in tokenizer.json. The config's parameters add text:
PROMPT is put before every text, or before the first text of a pair; with HYPOTHESIS, every text is paired with every
label, and the ids have one more dimension, [rows, labels, tokens]. With source_languages, a list of token names, the
token of source_language is added to each text; the optional input of that name (or a parameter of the request) selects
another.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

LANGUAGE = "source_language"
LANGUAGE_NAMES = (LANGUAGE, "src_lang")  # as a parameter
FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class TritonPythonModel:
    """The tokenizer of one checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open tokenizer.json, which is next to this file."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        version_directory = Path(args["model_repository"], args["model_version"])
        self.tokenizer = Tokenizer.from_file(str(version_directory / "tokenizer.json"))
        self.inputs = [each["name"] for each in config["input"] if each["name"] != LANGUAGE]
        self.names = [each["name"] for each in config["output"]]
        self.prompt = parameters.get("PROMPT", "")
        self.hypothesis = parameters.get("HYPOTHESIS", "")
        self.languages = parameters.get("source_languages", "").split()
        self.most = most_characters(self.tokenizer)
        self.usual_language = self.tokenizer.token_to_id(parameters.get(LANGUAGE, ""))

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately, so that one bad text does not fail the others."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Encode every row of one request."""
        try:
            columns = [self.cut(self.texts(request, name), name) for name in self.inputs]
            shape, texts = self.together(columns)
            languages = self.asked_languages(request, len(texts)) if self.languages else []
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        encodings = self.tokenizer.encode_batch(texts)
        return pb_utils.InferenceResponse([self.tensor(name, encodings, shape, languages) for name in self.names])

    def asked_languages(self, request: pb_utils.InferenceRequest, rows: int) -> list[str]:
        """Return the language of each row, [] if the request does not set one; raise ValueError if one is unknown."""
        tensor = pb_utils.get_input_tensor_by_name(request, LANGUAGE)
        if tensor is not None:
            names = self.texts(request, LANGUAGE).ravel().tolist()
        else:
            parameters = json.loads(request.parameters() or "{}")
            names = [str(parameters[name]) for name in LANGUAGE_NAMES if name in parameters][:1]
        for name in names:
            if name not in self.languages:
                near = difflib.get_close_matches(name, self.languages, n=1) or self.languages[:1]
                raise ValueError(f"source language '{name}' is unknown: did you mean '{near[0]}'?")
        if len(names) not in (0, 1, rows):
            raise ValueError(f"input '{LANGUAGE}' has {len(names)} values for {rows} rows, expected one per row")
        return names * rows if len(names) == 1 else names

    def texts(self, request: pb_utils.InferenceRequest, name: str) -> np.ndarray:
        """Return one input as an array of str; raise ValueError if it is not valid UTF-8."""
        array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        texts = np.empty(array.size, dtype=np.object_)
        try:
            texts[:] = [element.decode("utf-8") for element in array.ravel()]
        except UnicodeDecodeError as error:
            raise ValueError(f"input '{name}' is not valid UTF-8: {error}") from error
        return texts.reshape(array.shape)

    def cut(self, texts: np.ndarray, name: str) -> np.ndarray:
        """Cut off what is certainly truncated, because the tokenizer would read it first; raise ValueError if a text is
        too long for a tokenizer that does not truncate."""
        truncation = self.tokenizer.truncation
        longest = max(map(len, texts.flat), default=0)
        if longest <= self.most or (truncation and truncation["direction"] == "left" and "offsets" in self.names):
            return texts
        if truncation is None:
            raise ValueError(
                f"a text of input '{name}' has {longest} characters, but at most {self.most} are tokenized"
            )
        part = slice(-self.most, None) if truncation["direction"] == "left" else slice(self.most)
        for index, text in enumerate(texts.flat):
            texts.flat[index] = text[part]
        return texts

    def together(self, columns: list[np.ndarray]) -> tuple[tuple[int, ...], list[Any]]:
        """Return the shape of the batch, and the texts or pairs of texts to encode."""
        first = columns[0]
        if self.hypothesis:
            labels = columns[1]
            if labels.shape[1] < 2:  # one label alone would always win
                raise ValueError(f"input 'labels' needs at least two labels to choose from, but has {labels.shape[1]}")
            pairs = [
                (text, self.hypothesis.replace("{}", label))
                for row, text in enumerate(first[:, 0])
                for label in labels[row]
            ]
            return labels.shape, pairs
        if len(columns) == 2:
            seconds = columns[1].ravel()
            return first.shape[:1], [(self.prompt + one, other) for one, other in zip(first.ravel(), seconds)]
        return first.shape[:1], [self.prompt + text for text in first.ravel()]

    def in_language(self, encoding: Any, language: str) -> list[int]:
        """Return the ids with the token of `language` in place of the default one."""
        other = self.tokenizer.token_to_id(language) or 0  # every name in the config has an id
        pairs = zip(encoding.ids, encoding.special_tokens_mask)
        return [other if special and token == self.usual_language else token for token, special in pairs]

    def tensor(self, name: str, encodings: list[Any], shape: tuple[int, ...], languages: list[str]) -> pb_utils.Tensor:
        """Return one output; `offsets` are character positions in the last text, -1 for tokens outside it."""
        rows: list[Any]
        if name == "offsets":
            rows = [offsets(encoding, len(self.inputs) - 1) for encoding in encodings]
        elif name == "input_ids" and languages:
            rows = [self.in_language(encoding, language) for encoding, language in zip(encodings, languages)]
        else:
            rows = [getattr(encoding, FIELDS[name]) for encoding in encodings]
        array = np.array(rows, dtype=np.int64)
        if not encodings:  # a request without rows
            array = array.reshape((0, 0, 2) if name == "offsets" else (0, 0))
        return pb_utils.Tensor(name, array.reshape((*shape, *array.shape[1:])))


def most_characters(tokenizer: Tokenizer) -> int:
    """Return how many characters of a text can matter: as many as the longest tokens have, and some to spare."""
    if tokenizer.truncation is None:
        return 1 << 20
    longest = max(map(len, tokenizer.get_vocab()), default=1)
    return (int(tokenizer.truncation["max_length"]) + 64) * longest


def offsets(encoding: Any, last: int) -> list[tuple[int, int]]:
    """Return the start and end of each token in the last text, (-1, -1) for tokens outside it."""
    return [place if sequence == last else (-1, -1) for place, sequence in zip(encoding.offsets, encoding.sequence_ids)]
