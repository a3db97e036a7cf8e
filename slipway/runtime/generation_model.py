"""A checkpoint that generates text, for the `model.py` that `slipway convert` writes: token ids, or an image's encoder
states, in; token ids out.

Independent of protocols: a request consists of arrays by name and an `AnswerSink`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import SlipwayError, invalid, unsupported
from slipway.runtime import source_language
from slipway.runtime.arguments import (
    FORCED,
    LEAST_TOTAL,
    NUM_RETURN,
    OF_SOURCE_TEXT,
    TOTAL,
    Values,
    check_names,
    decoding_of,
    default_values,
    given_name,
    read_values,
    stop_texts,
)
from slipway.runtime.engine_model import AnswerSink, EngineModel
from slipway.runtime.settings import read_fixed_settings
from slipway.runtime.shared_engines import acquire_engine
from slipway.runtime.stop_texts import StopTextsOfRow, token_bytes
from slipway.transformer.dispatch import GenerationRequest
from slipway.transformer.generation import Hypothesis, SequenceRequest, TransformersRules
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Positions

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
STATES: Final = "encoder_states"  # FP32 [rows, tokens, size], of a model whose encoder is another model
CACHE: Final = "ctranslate2"  # folder of the converted weights, next to the checkpoint
TOKENIZER: Final = "tokenizer.json"  # next to the checkpoint, for stop texts
_NO_IDS: Final = np.empty(0, np.int64)
_LONGEST: Final = 4096  # limit of generated tokens if positions set none; the parameter LONGEST_OUTPUT changes it


class GenerationModel(EngineModel):
    """A checkpoint and its engine, opened from the directory that contains config.json and the weights.

    `parameters` are those of the config: ENGINE, COMPUTE_TYPE, DEVICE, THREADS, LONGEST_OUTPUT, the default of each
    argument under its own name, and the settings that hold for every request (`settings.py`). Raise `SlipwayError`
    naming what is missing or damaged.
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
        if TOTAL not in self._defaults:
            self._defaults.setdefault("max_tokens", min(128, self._longest))
        self._fixed = read_fixed_settings(parameters)
        self._tokenizer = directory / TOKENIZER
        # Parameters that the tokenizer reads.
        self._elsewhere = source_language.NAMES if source_language.LANGUAGES in parameters else ()
        options = EngineOptions.of(parameters, directory / CACHE)
        super().__init__(acquire_engine(directory, checkpoint, options, name=name))

    def _request(self, inputs: Mapping[str, np.ndarray], sink: AnswerSink) -> _Request:
        """Return the request as rows; raise `SlipwayError` naming every invalid row and the reason."""
        sources = self._states(inputs) if self._spec.encoded_size else self._tokens(inputs)
        check_names([name for name in inputs if name not in (IDS, MASK, STATES)], self._elsewhere)
        values = read_values(inputs, len(sources), self._defaults)
        stops = stop_texts(inputs, len(sources)) or [self._fixed.stop_texts] * len(sources)
        rows, problems = [], []
        for index, (source, each, stop) in enumerate(zip(sources, values, stops, strict=True)):
            try:
                rows.append(self._row(source, each, stop, inputs))
            except SlipwayError as error:
                problems.append(f"row {index}: {error.message}")
        if problems:
            raise invalid("; ".join(problems))
        return _Request(rows, [int(each[NUM_RETURN]) for each in values], sink, pad=self._pad)

    def _tokens(self, inputs: Mapping[str, np.ndarray]) -> list[SequenceRequest]:
        """Return the rows of a text without their decoding."""
        ids = np.atleast_2d(inputs[IDS]).astype(np.int64)
        mask = np.atleast_2d(inputs.get(MASK, np.ones_like(ids))) != 0
        if mask.shape != ids.shape:
            raise invalid(f"'{IDS}' has shape {list(ids.shape)}, but '{MASK}' has shape {list(mask.shape)}")
        return [SequenceRequest(row[kept]) for row, kept in zip(ids, mask, strict=True)]

    def _states(self, inputs: Mapping[str, np.ndarray]) -> list[SequenceRequest]:
        """Return the rows of images without their decoding."""
        states = np.asarray(inputs[STATES], np.float32)
        states = states[None] if states.ndim == 2 else states
        if states.ndim != 3 or not states.shape[1] or states.shape[2] != self._spec.encoded_size:
            size = self._spec.encoded_size
            raise invalid(f"'{STATES}' has shape {list(states.shape)}, expected [rows, tokens, {size}]")
        return [SequenceRequest(_NO_IDS, hidden=row) for row in states]

    def _row(
        self, source: SequenceRequest, values: Values, stop: Sequence[str], inputs: Mapping[str, np.ndarray]
    ) -> SequenceRequest:
        ids = source.ids
        if source.hidden is None:
            self._check_ids(ids)
        elif any(values.get(name, neutral) != neutral for name, neutral in OF_SOURCE_TEXT.items()):
            raise invalid(f"{' and '.join(OF_SOURCE_TEXT)} need a source text, but the source is an image")
        if values.get(FORCED, 0) >= self._decoder.vocabulary:
            raise invalid(f"{FORCED} is {values[FORCED]:g}, but the vocabulary has {self._decoder.vocabulary}")
        most = self._most_tokens(ids.size)
        values = self._of_total_lengths(values, ids.size if self._spec.continues else 1)
        asked = given_name(inputs, "max_tokens")
        if asked and values["max_tokens"] > most:
            raise invalid(f"{asked} is {values['max_tokens']:g}, but only {most} tokens are possible")
        prompt = tuple(ids.tolist()) if self._spec.continues else ()
        rules = self._rules(stop, prompt)
        decoding = decoding_of(
            values, most_tokens=most, start_id=self._spec.start_id, end_ids=self._end_ids, rules=rules
        )
        row = replace(source, decoding=decoding)
        refusal = self._engine.refusal(row)
        if refusal:
            raise unsupported(f"not supported by this model's engine: {refusal}")
        return row

    def _check_ids(self, ids: np.ndarray) -> None:
        """Raise INVALID_ARG unless the model can take these tokens."""
        if not ids.size:
            raise invalid("it has no tokens")
        vocabulary = (self._spec.encoder or self._decoder).vocabulary
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise invalid(f"its ids range from {ids.min()} to {ids.max()}, but the vocabulary has {vocabulary}")
        encoder = self._spec.encoder
        if encoder is not None and encoder.positions is Positions.TABLE and ids.size > encoder.position_rows:
            raise invalid(f"it has {ids.size} tokens, but the encoder has {encoder.position_rows} positions")

    def _rules(self, stop: Sequence[str], prompt: tuple[int, ...]) -> TransformersRules:
        """Return the checkpoint's rules with the stop texts of the row."""
        if not stop:
            return self._fixed.rules
        if not self._tokenizer.is_file():
            raise unsupported(f"stop texts need '{self._tokenizer}', which is missing: convert the checkpoint again")
        texts = tuple(text.encode() for text in stop)
        return replace(self._fixed.rules, stop_texts=StopTextsOfRow(texts, token_bytes(self._tokenizer), prompt))

    @staticmethod
    def _of_total_lengths(values: Values, before: int) -> Values:
        """Return the values with total lengths, which include the tokens `before`, replaced by lengths to generate."""
        lengths: Values = {}
        if TOTAL in values and "max_tokens" not in values:
            lengths["max_tokens"] = values[TOTAL] - before
            if lengths["max_tokens"] < 1:
                raise invalid(
                    f"it has {before} tokens, but max_length, which includes them, is {values[TOTAL]:g}: shorten the "
                    "text, or set max_new_tokens, which counts only generated tokens"
                )
        if LEAST_TOTAL in values and "min_tokens" not in values:
            lengths["min_tokens"] = max(0, values[LEAST_TOTAL] - before)
        return values | lengths

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
    """A request that passes its results to its sink: the `wanted` best hypotheses or samples of each row."""

    def __init__(self, rows: Sequence[SequenceRequest], wanted: Sequence[int], sink: AnswerSink, *, pad: int) -> None:
        draws = [_draws(row, count) for row, count in zip(rows, wanted, strict=True)]
        self._first = [0]  # index of the first sequence of each row
        for each in draws:
            self._first.append(self._first[-1] + len(each))
        super().__init__([draw for each in draws for draw in each])
        self._wanted = wanted
        self._sink = sink
        self._pad = pad

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Pass one token on; if a row is sampled several times, only those of the first sequence."""
        if row not in self._first:
            return not self._sink.wanted()
        self.sent = True  # the sink may have sent the token
        return self._sink.token(self._first.index(row), token)

    def wanted(self) -> bool:
        """Return whether the client is still waiting."""
        return self._sink.wanted()

    def answer(self) -> None:
        """Pass on the hypotheses of all rows, padded to the longest."""
        chosen = [
            [hypothesis for result in self.results[first:end] for hypothesis in result][:wanted]
            for first, end, wanted in zip(self._first, self._first[1:], self._wanted, strict=False)
        ]
        self._sink.answer(_arrays(chosen, max(self._wanted, default=1), self._pad))

    def fail(self, error: SlipwayError) -> None:
        """Pass on the error."""
        self._sink.fail(error)


def _draws(row: SequenceRequest, count: int) -> list[SequenceRequest]:
    """Return one row per sequence to sample, each with its own seed; a searched row is returned once."""
    decoding = row.decoding
    if count == 1 or decoding is None or decoding.beam_width > 1:
        return [row]
    return [replace(row, decoding=replace(decoding, seed=decoding.seed + draw)) for draw in range(count)]


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
