"""A checkpoint opened to generate, and the rows that its requests become: what `GenerationModel` and `CompletionModel`
share.

Independent of protocols: a row is made of token ids or encoder states, and of values by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import invalid, unsupported
from slipway.runtime import source_language
from slipway.runtime.arguments import (
    FORCED,
    IGNORES_END,
    LEAST_TOTAL,
    OF_SOURCE_TEXT,
    TOTAL,
    Values,
    decoding_of,
    default_values,
    given_name,
)
from slipway.runtime.engine_model import EngineModel, Sink
from slipway.runtime.grammars.compiler import CompiledGrammar, GrammarCompiler
from slipway.runtime.grammars.source import GrammarSource
from slipway.runtime.settings import read_fixed_settings
from slipway.runtime.shared_engines import acquire_engine
from slipway.runtime.stop_texts import StopTextsOfRow, token_bytes
from slipway.runtime.token_lists import TokenLists
from slipway.transformer.generation import Decoding, SequenceRequest, TransformersRules
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Positions

CACHE: Final = "ctranslate2"  # folder of the converted weights, next to the checkpoint
TOKENIZER: Final = "tokenizer.json"  # next to the checkpoint, for stop texts
_LONGEST: Final = 4096  # limit of generated tokens if positions set none; the parameter LONGEST_OUTPUT changes it


@dataclass(frozen=True, slots=True)
class RowExtras:
    """What a request says about its rows beside values and stop texts."""

    grammar: GrammarSource | None = None
    tokens: TokenLists = TokenLists()  # noqa: RUF009  a frozen value


class CheckpointModel(EngineModel[Sink]):
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
        self._grammars: GrammarCompiler | None = None
        # Parameters that the tokenizer reads.
        self._elsewhere = source_language.NAMES if source_language.LANGUAGES in parameters else ()
        options = EngineOptions.of(parameters, directory / CACHE)
        super().__init__(acquire_engine(directory, checkpoint, options, name=name))

    def _row(
        self,
        source: SequenceRequest,
        values: Values,
        stop: Sequence[str],
        inputs: Mapping[str, Any],
        *,
        extras: RowExtras = RowExtras(),
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
        extras.tokens.check(self._decoder.vocabulary)
        ends = (*self._ends(values), *extras.tokens.stop_token_ids)
        if extras.grammar is not None and not self._ends(values):
            raise invalid(f"{IGNORES_END} contradicts a grammar, which says where the text ends")
        rules = self._rules(stop, prompt)
        rules = replace(
            rules,
            grammar=self._grammar(extras.grammar),
            allowed_tokens=extras.tokens.allowed_token_ids,
            sequence_bias=(*rules.sequence_bias, *(((token,), bias) for token, bias in extras.tokens.logit_bias)),
        )
        decoding = decoding_of(values, most_tokens=most, start_id=self._spec.start_id, end_ids=ends, rules=rules)
        row = replace(source, decoding=decoding)
        if not (asked or given_name(inputs, TOTAL)):
            row = self._fitting(row, decoding)
        refusal = self._engine.refusal(row)
        if refusal:
            raise unsupported(f"not supported by this model's engine: {refusal}")
        return row

    def _fitting(self, row: SequenceRequest, decoding: Decoding) -> SequenceRequest:
        """Return a row that does not ask for a length, to be generated as long as the engine has memory for it."""
        room = self._engine.room(row)
        most = max(1, room + 1 - row.ids.size)  # the last token is not fed back
        if not room or decoding.max_tokens <= most:
            return row
        return replace(row, decoding=replace(decoding, max_tokens=most))

    def _ends(self, values: Values) -> tuple[int, ...]:
        """Return the model's tokens that end a row with these values."""
        return () if values.get(IGNORES_END) else self._end_ids

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

    def _grammar(self, source: GrammarSource | None) -> CompiledGrammar | None:
        """Return a grammar for the text of one row, None without one; raise as `GrammarCompiler.compile` does."""
        if source is None:
            return None
        if self._grammars is None:
            if not self._tokenizer.is_file():
                raise unsupported(f"grammars need '{self._tokenizer}', which is missing: convert the checkpoint again")
            tokens = token_bytes(self._tokenizer)
            self._grammars = GrammarCompiler(tokens, vocabulary=self._decoder.vocabulary, ends=self._end_ids)
        return self._grammars.compile(source)

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
        longest = self._decoder.longest
        if not longest:
            return self._longest
        taken = 0 if self._spec.has_cross_attention else tokens
        left = longest - taken
        if left < 1:
            raise invalid(f"its {tokens} tokens leave no room to generate in {longest} positions")
        return min(left, self._longest)
