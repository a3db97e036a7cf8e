"""The interfaces that return hidden states: T5-Encoder (ids in) and bert (embedded tokens in).

Rows of different lengths arrive padded and are returned padded with zeros. Source: FasterTransformer backend
`T5EncoderTritonModelInstance`, `BertTritonModelInstance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.backends.fastertransformer.arguments import Arguments
from slipway.backends.fastertransformer.configuration import SequenceLimits
from slipway.backends.fastertransformer.decodings import asked
from slipway.backends.fastertransformer.outputs import declared, padded
from slipway.backends.fastertransformer.sequences import (
    check_ids,
    read_adapter_tasks,
    read_lengths,
    read_prompts,
)
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import invalid
from slipway.transformer.generation import Encoded, SequenceRequest
from slipway.transformer.spec import Transformer


@dataclass(slots=True)
class EncoderJob:
    """One request: a `backends.shared.single_pass.HiddenStatesJob`. Its answer is as wide as the request, `columns`."""

    rows: Sequence[SequenceRequest]
    attentions: bool
    signature: ModelSignature
    spec: Transformer
    columns: int
    batched: bool

    def answer(self, results: Sequence[Encoded]) -> list[Tensor]:
        """Return `output_hidden_state` [rows, columns, hidden] and, if requested, `output_attentions` [rows, layers,
        heads, columns, columns]."""
        stack, columns = self.spec.input_stack, self.columns
        arrays = {"output_hidden_state": padded([each.hidden for each in results], (columns, stack.hidden))}
        if self.attentions:
            shape = (stack.layers, stack.heads, columns, columns)
            maps = [each.attentions for each in results if each.attentions is not None]
            arrays["output_attentions"] = padded(maps, shape)
        return declared(self.signature, arrays, batched=self.batched)


class _EncoderInterface:
    """The part that both interfaces share."""

    def __init__(self, signature: ModelSignature, spec: Transformer, limits: SequenceLimits) -> None:
        self._signature = signature
        self._spec = spec
        positions = spec.input_stack.position_rows
        self._longest = min(limits.input_tokens, positions or limits.input_tokens)
        self._elements = limits.output_elements
        self._warned: set[str] = set()

    def _array(self, request: InferRequest, name: str, rank: int) -> tuple[np.ndarray, bool]:
        """Return an input with a batch dimension, and whether it arrived with one."""
        if name not in request.inputs:
            raise invalid(f"{request.log_prefix}'{name}' is missing")
        array = request.inputs[name].array
        return (array, True) if array.ndim == rank else (array[None], False)

    def _check_size(self, arguments: Arguments, columns: int, *, attentions: bool) -> None:
        """Record a problem if the answer would be too large."""
        stack = self._spec.input_stack
        each = columns * stack.hidden + (stack.layers * stack.heads * columns**2 if attentions else 0)
        problem = arguments.too_large(each, f"{columns} columns", self._elements)
        if problem:
            arguments.refuse("output_attentions" if attentions else "output_hidden_state", problem)


class T5EncoderInterface(_EncoderInterface):
    """Reads `input_ids`, `sequence_length`, `is_return_attentions`, `ia3_tasks`."""

    def read(self, request: InferRequest) -> EncoderJob:
        """Return the job of a request; raise INVALID_ARG with everything that is wrong with it."""
        table, batched = self._array(request, "input_ids", 2)
        table = table.astype(np.int64)
        arguments = Arguments(request, len(table), self._warned)
        prompts = read_prompts(arguments, self._spec)
        lengths = read_lengths(arguments, "sequence_length", table.shape[1], self._longest)
        sequences = [ids[: max(0, length)] for ids, length in zip(table, lengths, strict=True)]
        check_ids(arguments, "input_ids", sequences, prompts, self._spec)
        tasks = read_adapter_tasks(arguments, self._spec)
        attentions = asked(arguments, "is_return_attentions")
        self._check_size(arguments, table.shape[1], attentions=attentions)
        arguments.check()
        parts = zip(sequences, tasks, prompts.tasks, prompts.tables, strict=True)
        rows = [
            SequenceRequest(ids, adapter_task=task, prompt_task=stored, prompt=given)
            for ids, task, stored, given in parts
        ]
        return EncoderJob(rows, attentions, self._signature, self._spec, table.shape[1], batched)


class BertInterface(_EncoderInterface):
    """Reads `input_hidden_state` [rows, columns, hidden] and `sequence_lengths`."""

    def read(self, request: InferRequest) -> EncoderJob:
        """Return the job of a request; raise INVALID_ARG with everything that is wrong with it."""
        states, batched = self._array(request, "input_hidden_state", 3)
        hidden = self._spec.input_stack.hidden
        arguments = Arguments(request, len(states), self._warned)
        if states.shape[2] != hidden:
            arguments.refuse(
                "input_hidden_state", f"has shape {list(states.shape)}, the model's hidden size is {hidden}"
            )
        lengths = read_lengths(arguments, "sequence_lengths", states.shape[1], self._longest)
        self._check_size(arguments, states.shape[1], attentions=False)
        arguments.check()
        none = np.empty(0, np.int64)
        rows = [
            SequenceRequest(none, hidden=row[:length].astype(np.float32))
            for row, length in zip(states, lengths, strict=True)
        ]
        return EncoderJob(rows, False, self._signature, self._spec, states.shape[1], batched)
