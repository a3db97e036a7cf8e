"""A checkpoint that generates text, for the `model.py` that `slipway convert` writes: token ids, or an image's encoder
states, in; token ids out.

Independent of protocols: a request consists of arrays by name and an `AnswerSink`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from slipway.errors import SlipwayError, invalid
from slipway.runtime.arguments import NUM_RETURN, check_names, read_values, stop_texts
from slipway.runtime.checkpoint_model import CheckpointModel, RowExtras
from slipway.runtime.engine_model import AnswerSink
from slipway.runtime.grammars.checking import CHECKS
from slipway.runtime.grammars.compiler import check_followed
from slipway.runtime.grammars.source import GRAMMAR_NAMES, read_grammar
from slipway.runtime.token_lists import LISTS, read_token_lists
from slipway.transformer.dispatch import GenerationRequest
from slipway.transformer.generation import Hypothesis, SequenceRequest

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
STATES: Final = "encoder_states"  # FP32 [rows, tokens, size], of a model whose encoder is another model
_NO_IDS: Final = np.empty(0, np.int64)


class GenerationModel(CheckpointModel[AnswerSink]):
    """A checkpoint that answers each request with arrays."""

    @staticmethod
    def holds_to_form(names: Iterable[str]) -> bool:
        """Return whether one of these inputs or parameters says what the text must be: then no character of it may be
        changed."""
        return any(name in GRAMMAR_NAMES for name in names)

    def _request(self, inputs: Mapping[str, np.ndarray], sink: AnswerSink) -> _Request:
        """Return the request as rows; raise `SlipwayError` naming every invalid row and the reason."""
        sources = self._states(inputs) if self._spec.encoded_size else self._tokens(inputs)
        check_names([name for name in inputs if name not in (IDS, MASK, STATES)], self._elsewhere)
        values = read_values(inputs, len(sources), self._defaults)
        stops = stop_texts(inputs, len(sources)) or [self._fixed.stop_texts] * len(sources)
        extras = RowExtras(read_grammar(_plain(inputs, GRAMMAR_NAMES)), read_token_lists(_plain(inputs, LISTS)))
        rows, problems = [], []
        for index, (source, each, stop) in enumerate(zip(sources, values, stops, strict=True)):
            try:
                rows.append(self._row(source, each, stop, inputs, extras=extras))
            except SlipwayError as error:
                problems.append(f"row {index}: {error.message}")
        if problems:
            raise invalid("; ".join(problems))
        return _Request(rows, [int(each[NUM_RETURN]) for each in values], sink, pad=self._pad)

    def _reads_long(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Return whether a grammar has to be checked, for which a process is started."""
        if not self.holds_to_form(inputs):
            return False
        try:
            source = read_grammar(_plain(inputs, GRAMMAR_NAMES))
        except SlipwayError:
            return False  # refused without a process
        return source is not None and not CHECKS.known(source)

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
        """Pass on the hypotheses of all rows, padded to the longest; raise INVALID_ARG if a text could not follow its
        grammar."""
        check_followed(self.rows)
        chosen = [
            [hypothesis for result in self.results[first:end] for hypothesis in result][:wanted]
            for first, end, wanted in zip(self._first, self._first[1:], self._wanted, strict=False)
        ]
        self._sink.answer(_arrays(chosen, max(self._wanted, default=1), self._pad))

    def fail(self, error: SlipwayError) -> None:
        """Pass on the error."""
        self._sink.fail(error)


def _plain(inputs: Mapping[str, np.ndarray], names: Container[str]) -> dict[str, Any]:
    """Return those of the inputs as JSON values."""
    return {name: array.tolist() for name, array in inputs.items() if name in names}


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
