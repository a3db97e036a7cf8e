"""A checkpoint that completes prompts as OpenAI's API does, for the `model.py` that `slipway convert` writes: each row
is an order in JSON, and its text comes back in events.

Independent of protocols: an event is a dictionary of JSON values with `row` and `text`; the last one of a row also has
`finish_reason` (stop, length), `tokens` (their number) and `log_probability` (of all of them). With `logprobs`, events
have a list of tokens, each with `token`, `bytes`, `logprob`, `offset` (in the text) and `top` (the best ones).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from slipway.errors import SlipwayError, invalid, unsupported
from slipway.runtime.arguments import TOTAL, given_name, read_values
from slipway.runtime.checkpoint_model import TOKENIZER, CheckpointModel, RowExtras
from slipway.runtime.completion_order import CompletionOrder
from slipway.runtime.completion_text import CompletionText, TextStops, finite
from slipway.runtime.grammars.compiler import check_followed, failure_of
from slipway.runtime.pieces import TextPieces
from slipway.runtime.stop_texts import token_bytes
from slipway.transformer.dispatch import GenerationRequest
from slipway.transformer.generation import SequenceRequest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

COMPLETION: Final = "completion"  # the input: orders, BYTES [rows, 1]
EVENT: Final = "event"  # the output: events
CLEAN_UP: Final = "CLEAN_UP"


class CompletionSink(Protocol):
    """Receives the events of one request. Called on the engine's thread."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Receive an event of a row."""

    def wanted(self) -> bool:
        """Return whether the client still waits."""

    def close(self) -> None:
        """Learn that all rows are complete."""

    def fail(self, error: SlipwayError) -> None:
        """Receive the error because of which the request failed."""


class CompletionModel(CheckpointModel[CompletionSink]):
    """A checkpoint with its tokenizer.json, opened from their directory."""

    def __init__(self, directory: Path, parameters: Mapping[str, str], *, name: str) -> None:
        from tokenizers import Tokenizer

        if not (directory / TOKENIZER).is_file():
            raise unsupported(f"completions need '{directory / TOKENIZER}', which is missing")
        super().__init__(directory, parameters, name=name)
        self._texts: Tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        self._bytes = token_bytes(directory / TOKENIZER)
        self._cleaned = parameters.get(CLEAN_UP) == "1"
        if "max_output_len" not in parameters and TOTAL not in self._defaults:
            self._defaults["max_tokens"] = self._longest

    def _request(self, inputs: Mapping[str, np.ndarray], sink: CompletionSink) -> _CompletionRequest:
        """Return the request as rows; raise `SlipwayError` naming every invalid row and the reason."""
        rows, texts, streams, problems = [], [], [], []
        for index, order in enumerate(inputs[COMPLETION].reshape(-1).tolist()):
            try:
                read = CompletionOrder.of(order)
                row, text = self._ordered(read)
            except SlipwayError as error:
                problems.append(f"row {index}: {error.message}")
                continue
            rows.append(row)
            texts.append(text)
            streams.append(read.pieces)
        if problems:
            raise invalid("; ".join(problems))
        return _CompletionRequest(rows, texts, streams, sink)

    def _ordered(self, order: CompletionOrder) -> tuple[SequenceRequest, CompletionText]:
        given = {name: np.array(value) for name, value in order.settings.items()}
        values = read_values(given, 1, self._defaults)[0]
        if order.most_tokens is not None and not self._sets_length(given):
            values["max_tokens"] = order.most_tokens
        prompt = SequenceRequest(np.array(order.prompt, np.int64))
        row = self._row(prompt, values, (), given, extras=RowExtras(order.grammar, order.tokens))
        stops = TextStops((*order.stop, *self._fixed.stop_texts), order.tokens.stop_token_ids, order.include_stop)
        pieces = TextPieces(self._texts, cleaned=self._cleaned and order.grammar is None, kept=order.special_tokens)
        text = CompletionText(pieces, self._bytes, stops=stops, ends=self._ends(values), width=order.logprobs)
        row = self._with_text(row, order, text, stopping=bool(stops.texts))
        refusal = self._engine.refusal(row)
        if refusal:
            raise unsupported(f"not supported by this model's engine: {refusal}")
        return row, text

    @staticmethod
    def _sets_length(given: Mapping[str, Any]) -> bool:
        return bool(given_name(given, "max_tokens") or given_name(given, TOTAL))

    def _with_text(
        self, row: SequenceRequest, order: CompletionOrder, text: CompletionText, *, stopping: bool
    ) -> SequenceRequest:
        """Return the row with what the order adds to its rules."""
        decoding = row.decoding
        if decoding is None or decoding.rules is None:
            return row
        rules = replace(
            decoding.rules,
            stop_texts=text if stopping else None,
            frequency_penalty=order.frequency_penalty or decoding.rules.frequency_penalty,
            output_presence_penalty=order.output_presence_penalty or decoding.rules.output_presence_penalty,
            observer=None if order.logprobs is None else text,
        )
        return replace(row, decoding=replace(decoding, rules=rules))


class _CompletionRequest(GenerationRequest):
    """A request that reports the text of each row."""

    def __init__(
        self,
        rows: Sequence[SequenceRequest],
        texts: Sequence[CompletionText],
        streams: Sequence[bool],
        sink: CompletionSink,
    ) -> None:
        super().__init__(rows)
        self._texts = texts
        self._streams = streams
        self._sink = sink

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Add the token to the text of its row."""
        self.sent = True  # the text cannot start again
        text = self._texts[row]
        text.push(token)
        if self._streams[row] and (event := text.take()) is not None:
            self._sink.event({"row": row, **event})
        return not self._sink.wanted()

    def wanted(self) -> bool:
        """Return whether the client is still waiting."""
        return self._sink.wanted()

    def row_done(self, row: int) -> None:
        """Report the rest of a row's text."""
        if self.stopped or not self.results[row] or failure_of(self.rows[row]):
            return
        found = self.results[row][0]
        closing = self._texts[row].close(found.ids)
        self._sink.event({"row": row, **closing, "log_probability": finite(found.log_probability)})

    def answer(self) -> None:
        """Report the end; raise INVALID_ARG if a text could not follow its grammar."""
        check_followed(self.rows)
        self._sink.close()

    def fail(self, error: SlipwayError) -> None:
        """Pass on the error."""
        self._sink.fail(error)
