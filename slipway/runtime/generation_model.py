"""A checkpoint that generates text, for the `model.py` that `slipway convert` writes: token ids in, token ids out.

Independent of protocols: a request consists of arrays by name and an `AnswerSink`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import SlipwayError, invalid, unsupported
from slipway.runtime.arguments import FORCED, NUM_RETURN, Values, decoding_of, default_values, read_values
from slipway.runtime.shared_engines import acquire_engine
from slipway.transformer.dispatch import GenerationRequest, dispatch
from slipway.transformer.generation import Hypothesis, SequenceRequest
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Positions

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
CACHE: Final = "ctranslate2"  # folder of the converted weights, next to the checkpoint
_LONGEST: Final = 4096  # limit of generated tokens if positions set none; the parameter LONGEST_OUTPUT changes it


class AnswerSink(Protocol):
    """Receives the results of one request. Called on the engine's thread."""

    def token(self, row: int, token: int) -> bool:
        """Receive the next token of a row that is not searched with beams. Return True to stop generating."""

    def wanted(self) -> bool:
        """Return whether the result is still wanted; called for requests that are searched with beams."""

    def answer(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Receive the output tensors of the finished request."""

    def fail(self, error: SlipwayError) -> None:
        """Receive the error because of which the request failed."""


class GenerationModel:
    """A checkpoint and its engine, opened from the directory that contains config.json and the weights.

    `parameters` are those of the config: ENGINE, COMPUTE_TYPE, DEVICE, THREADS, LONGEST_OUTPUT, and the default of each
    argument under its own name. Raise `SlipwayError` naming what is missing or damaged.
    """

    def __init__(self, directory: Path, parameters: Mapping[str, str], *, name: str) -> None:
        checkpoint = read_huggingface(directory)
        self._spec = checkpoint.spec
        if checkpoint.spec.decoder is None:
            raise unsupported(f"'{directory}' has only an encoder and cannot generate text")
        self._decoder = checkpoint.spec.decoder
        self._end_ids = checkpoint.end_ids or (checkpoint.spec.end_id,)
        self._pad = checkpoint.padding_id if checkpoint.padding_id is not None else self._end_ids[0]
        self._defaults = default_values(parameters)
        self._longest = int(parameters.get("LONGEST_OUTPUT", _LONGEST))
        self._defaults.setdefault("max_tokens", min(128, self._longest))
        options = EngineOptions(
            engine=parameters.get("ENGINE", "auto"),
            compute_type=parameters.get("COMPUTE_TYPE", "float32"),
            device=parameters.get("DEVICE", "cpu"),
            threads=int(parameters.get("THREADS", "0")),
            cache_directory=directory / CACHE,
        )
        self._shared = acquire_engine(directory, checkpoint, options, name=name)
        self._engine = self._shared.engine

    @property
    def description(self) -> str:
        """The engine that computes, and why it was chosen."""
        return self._engine.description

    def close(self) -> None:
        """Release the engine; the last model that shares it frees the weights."""
        self._shared.release()

    def run(self, asked: Sequence[tuple[Mapping[str, np.ndarray], AnswerSink]]) -> None:
        """Generate for all requests together; each gets its results as soon as its own rows are done."""
        requests: list[_Request] = []
        for inputs, sink in asked:
            try:
                requests.append(self._request(inputs, sink))
            except SlipwayError as error:
                sink.fail(error)
        dispatch(self._engine, requests)

    def _request(self, inputs: Mapping[str, np.ndarray], sink: AnswerSink) -> _Request:
        """Return the request as rows; raise `SlipwayError` naming every invalid row and the reason."""
        ids = np.atleast_2d(inputs[IDS]).astype(np.int64)
        mask = np.atleast_2d(inputs.get(MASK, np.ones_like(ids))) != 0
        if mask.shape != ids.shape:
            raise invalid(f"'{IDS}' has shape {list(ids.shape)}, but '{MASK}' has shape {list(mask.shape)}")
        values = read_values(inputs, len(ids), self._defaults)
        rows, problems = [], []
        for index, (row, kept, each) in enumerate(zip(ids, mask, values, strict=True)):
            try:
                rows.append(self._row(row[kept], each, inputs))
            except SlipwayError as error:
                problems.append(f"row {index}: {error.message}")
        if problems:
            raise invalid("; ".join(problems))
        return _Request(rows, [int(each[NUM_RETURN]) for each in values], sink, pad=self._pad)

    def _row(self, ids: np.ndarray, values: Values, inputs: Mapping[str, np.ndarray]) -> SequenceRequest:
        if not ids.size:
            raise invalid("it has no tokens")
        vocabulary = (self._spec.encoder or self._decoder).vocabulary
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise invalid(f"its ids range from {ids.min()} to {ids.max()}, but the vocabulary has {vocabulary}")
        encoder = self._spec.encoder
        if encoder is not None and encoder.positions is Positions.TABLE and ids.size > encoder.position_rows:
            raise invalid(f"it has {ids.size} tokens, but the encoder has {encoder.position_rows} positions")
        if values.get(FORCED, 0) >= self._decoder.vocabulary:
            raise invalid(f"{FORCED} is {values[FORCED]:g}, but the vocabulary has {self._decoder.vocabulary}")
        most = self._most_tokens(ids.size)
        if "max_output_len" in inputs and values["max_tokens"] > most:
            raise invalid(f"max_output_len is {values['max_tokens']:g}, but only {most} tokens are possible")
        decoding = decoding_of(values, most_tokens=most, start_id=self._spec.start_id, end_ids=self._end_ids)
        row = SequenceRequest(ids, decoding)
        refusal = self._engine.refusal(row)
        if refusal:
            raise unsupported(f"not supported by this model's engine: {refusal}")
        return row

    def _most_tokens(self, tokens: int) -> int:
        """Return how many tokens a row can get: positions may be limited, and a prompt uses some of them."""
        if self._decoder.positions is not Positions.TABLE:
            return self._longest
        taken = 0 if self._spec.has_cross_attention else tokens
        left = self._decoder.position_rows - taken
        if left < 1:
            raise invalid(f"its {tokens} tokens leave no room to generate in {self._decoder.position_rows} positions")
        return min(left, self._longest)


class _Request(GenerationRequest):
    """A request that passes its results to its sink: the `wanted` best hypotheses of each row."""

    def __init__(self, rows: Sequence[SequenceRequest], wanted: Sequence[int], sink: AnswerSink, *, pad: int) -> None:
        super().__init__(rows)
        self._wanted = wanted
        self._sink = sink
        self._pad = pad

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Pass one token on."""
        self.told = True  # the sink may have sent the token
        return self._sink.token(row, token)

    def wanted(self) -> bool:
        """Return whether the client is still waiting."""
        return self._sink.wanted()

    def answer(self) -> None:
        """Pass on the hypotheses of all rows, padded to the longest."""
        chosen = [list(row)[:wanted] for row, wanted in zip(self.results, self._wanted, strict=True)]
        self._sink.answer(_arrays(chosen, max(self._wanted, default=1), self._pad))

    def fail(self, error: SlipwayError) -> None:
        """Pass on the error."""
        self._sink.fail(error)


def _arrays(rows: Sequence[Sequence[Hypothesis]], count: int, pad: int) -> dict[str, np.ndarray]:
    """Return ids [rows, count, longest], and their lengths and log-probabilities [rows, count]."""
    longest = max((len(each.ids) for row in rows for each in row), default=0)
    ids = np.full((len(rows), count, longest), pad, np.int64)
    lengths = np.zeros((len(rows), count), np.int64)
    totals = np.zeros((len(rows), count), np.float32)
    for row, hypotheses in enumerate(rows):
        for place, each in enumerate(hypotheses):
            ids[row, place, : len(each.ids)] = each.ids
            lengths[row, place] = len(each.ids)
            totals[row, place] = each.log_probability
    return {"output_ids": ids, "sequence_length": lengths, "cum_log_probs": totals}
