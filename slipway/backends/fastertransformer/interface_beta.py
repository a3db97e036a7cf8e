"""The first interface of T5 and GPT (backend 1.1 beta): INPUT_ID and lengths in, OUTPUT0 and OUTPUT1 out.

All decoding settings are parameters of config.pbtxt, so all requests of a model share one `Decoding`. OUTPUT1 counts
the generated tokens, including the end token. FasterTransformer counts one more for finished rows; its clients do not
notice, because they cut there and skip special tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from slipway.backends.fastertransformer.arguments import MAX_TOP_K, Arguments
from slipway.backends.fastertransformer.configuration import MAX_BEAMS, Configuration, ModelType
from slipway.backends.fastertransformer.decodings import with_beams, with_sampling
from slipway.backends.fastertransformer.outputs import OutputLayout, Results, declared, token_arrays
from slipway.backends.fastertransformer.sequences import PromptTables, check_ids, read_lengths
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import invalid
from slipway.transformer.generation import Decoding, SequenceRequest
from slipway.transformer.spec import Transformer

IDS: Final = "INPUT_ID"
_LENGTHS: Final = "REQUEST_INPUT_LEN"
_LIMIT: Final = "REQUEST_OUTPUT_LEN"
_DEFAULT_LONGEST: Final = 528  # from FasterTransformer's own files: input 512, output 528


@dataclass(slots=True)
class BetaJob:
    """One request. Implements `backends.shared.generation.GenerationJob`."""

    rows: Sequence[SequenceRequest]
    signature: ModelSignature
    layout: OutputLayout
    batched: bool

    def answer(self, results: Results) -> list[Tensor]:
        """Return the ids and the number of generated ones."""
        ids, lengths = token_arrays(results, self.layout)
        return declared(self.signature, {"OUTPUT0": ids, "OUTPUT1": lengths}, batched=self.batched)


class BetaInterface:
    """Reads requests of one model."""

    def __init__(self, signature: ModelSignature, spec: Transformer, configuration: Configuration) -> None:
        self._signature = signature
        self._spec = spec
        self._with_prompt = configuration.type is ModelType.GPT
        self._beams = _beams(configuration)
        keys = (
            ("max_input_len", "max_seq_len") if self._with_prompt else ("max_encoder_seq_len", "max_decoding_seq_len")
        )
        limits = configuration.limits
        self._most_elements = limits.output_elements
        self._longest_input = min(configuration.whole(keys[0]) or limits.input_tokens, limits.input_tokens)
        self._longest_output = min(configuration.whole(keys[1]) or _DEFAULT_LONGEST, limits.output_tokens)
        positions = spec.output_stack.position_rows
        if positions:
            self._longest_output = min(self._longest_output, positions)
        self._decoding = _decoding(configuration, spec, self._beams)
        self._warned: set[str] = set()

    def read(self, request: InferRequest) -> BetaJob:
        """Return the job of a request; raise INVALID_ARG with all its problems."""
        if IDS not in request.inputs:
            raise invalid(f"{request.log_prefix}'{IDS}' is missing")
        table = request.inputs[IDS].array.astype(np.int64)
        batched = self._signature.max_batch_size > 0
        if not batched:
            table = table[None]
        if table.ndim == 3:  # GPT's ids are [rows, 1, tokens]
            if table.shape[1] != 1:
                raise invalid(f"{request.log_prefix}'{IDS}' has shape {list(table.shape)}, expected [rows, 1, tokens]")
            table = table[:, 0]
        arguments = Arguments(request, len(table), self._warned)
        positions = self._spec.input_stack.position_rows or self._longest_input
        lengths = read_lengths(arguments, _LENGTHS, table.shape[1], min(self._longest_input, positions))
        sequences = [ids[: max(0, length)] for ids, length in zip(table, lengths, strict=True)]
        none = [None] * len(table)
        check_ids(arguments, IDS, sequences, PromptTables(none, none), self._spec)
        limits = self._limits(arguments, lengths)
        steps = max(limits, default=0)
        width = table.shape[1] + steps if self._with_prompt else self._longest_output
        arguments.check_tokens(IDS, self._beams, width, self._most_elements)
        arguments.check()
        rows = [
            SequenceRequest(
                ids, replace(self._decoding, max_tokens=limit, min_tokens=min(self._decoding.min_tokens, limit))
            )
            for ids, limit in zip(sequences, limits, strict=True)
        ]
        prompts = sequences if self._with_prompt else None
        layout = OutputLayout(self._beams, width, steps, [self._decoding.end_id] * len(rows), prompts)
        return BetaJob(rows, self._signature, layout, batched)

    def _limits(self, arguments: Arguments, lengths: Sequence[int]) -> list[int]:
        """Return how many tokens each row may generate: the start token takes one of T5's positions."""
        if not self._with_prompt:
            return [max(1, self._longest_output - 1)] * arguments.rows
        most = self._longest_output
        limits = arguments.whole(_LIMIT, 0)
        for row, (limit, length) in enumerate(zip(limits, lengths, strict=True)):
            if limit < 1 or limit + length > most:
                text = (
                    f"is {limit} after {length} tokens of input, expected 1 or more, and {most} together (max_seq_len)"
                )
                arguments.refuse(_LIMIT, text, row)
        return limits


def _beams(configuration: Configuration) -> int:
    beams = configuration.whole("beam_width", 1) or 1
    if not 1 <= beams <= MAX_BEAMS:
        raise invalid(
            f"unable to load model '{configuration.model}', "
            f"parameter 'beam_width' is {beams}, expected 1 to {MAX_BEAMS}"
        )
    return beams


def _decoding(configuration: Configuration, spec: Transformer, beams: int) -> Decoding:
    """Return the decoding that the parameters set for every row."""
    figures = {
        key: configuration.number(key, default)
        for key, default in (
            ("top_p", 0.0),
            ("temperature", 1.0),
            ("repetition_penalty", 1.0),
            ("len_penalty", 0.0),
            ("beam_search_diversity_rate", 0.0),
        )
    }
    wrong = [f"'{key}' is {value:g}" for key, value in figures.items() if not np.isfinite(value)]
    if figures["repetition_penalty"] <= 0 or figures["temperature"] < 0:
        wrong.append("'repetition_penalty' must be above 0 and 'temperature' must not be negative")
    if wrong:
        raise invalid(f"unable to load model '{configuration.model}', parameters: {'; '.join(wrong)}")
    plain = Decoding(
        max_tokens=1,
        start_id=spec.start_id,
        end_id=spec.end_id,
        temperature=figures["temperature"],
        repetition_penalty=figures["repetition_penalty"],
    )
    if beams > 1:
        rate, penalty = figures["beam_search_diversity_rate"], figures["len_penalty"]
        return with_beams(plain, beams, length_penalty=penalty, diversity=rate)
    top_k = min(max(configuration.whole("top_k"), 0), MAX_TOP_K)
    return with_sampling(plain, top_k, min(max(figures["top_p"], 0.0), 1.0))
