"""The current interface of T5 and GPT: lower-case tensor names, all decoding settings as arguments per row.

A request becomes one `SequenceRequest` per sequence with its own `Decoding`; the engine's results become `output_ids`
and the outputs that go with it. Source: FasterTransformer `docs/t5_guide.md`, `docs/gpt_guide.md`,
`DynamicDecodeLayer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.backends.fastertransformer.arguments import Arguments
from slipway.backends.fastertransformer.configuration import MAX_BEAMS, SequenceLimits
from slipway.backends.fastertransformer.decodings import asked, read_decodings
from slipway.backends.fastertransformer.outputs import (
    OutputLayout,
    Results,
    declared,
    log_probability_arrays,
    token_arrays,
)
from slipway.backends.fastertransformer.sequences import (
    PromptTables,
    check_ids,
    read_adapter_tasks,
    read_lengths,
    read_prompts,
)
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import invalid
from slipway.transformer.generation import SequenceRequest, TransformerEngine
from slipway.transformer.spec import Transformer


@dataclass(frozen=True, slots=True)
class InterfaceForm:
    """How the interfaces of the model types differ. `lengths` is [rows]; `limit` counts generated tokens."""

    lengths: str
    limit: str
    limit_per_row: bool  # else row 0 sets it for all rows
    with_prompt: bool  # the answer begins with the input


T5_FORM = InterfaceForm("sequence_length", "max_output_len", limit_per_row=False, with_prompt=False)
GPT_FORM = InterfaceForm("input_lengths", "request_output_len", limit_per_row=True, with_prompt=True)


@dataclass(slots=True)
class CurrentJob:
    """One request. Implements `backends.shared.generation.GenerationJob`."""

    rows: Sequence[SequenceRequest]
    signature: ModelSignature
    layout: OutputLayout
    batched: bool
    log_probabilities: bool
    embeddings: np.ndarray | None  # float32 [rows, hidden], if requested

    def answer(self, results: Results) -> list[Tensor]:
        """Return the requested tensors."""
        layout = self.layout
        ids, lengths = token_arrays(results, layout)
        arrays = {"output_ids": ids, "sequence_length": lengths}
        if layout.prompts is not None:
            sizes = np.array([[len(prompt)] for prompt in layout.prompts], np.int32)
            arrays["response_input_lengths"] = np.broadcast_to(sizes.reshape(-1, 1), lengths.shape)
        if self.log_probabilities:
            arrays["cum_log_probs"], arrays["output_log_probs"] = log_probability_arrays(results, layout)
        if self.embeddings is not None:
            shape = (len(results), layout.beams, self.embeddings.shape[1])
            arrays["context_embeddings"] = np.broadcast_to(self.embeddings[:, None], shape)
        return declared(self.signature, arrays, batched=self.batched)


class CurrentInterface:
    """Reads requests of one model. `engine` is used only for context embeddings."""

    def __init__(
        self,
        signature: ModelSignature,
        spec: Transformer,
        limits: SequenceLimits,
        *,
        form: InterfaceForm,
        engine: TransformerEngine,
    ) -> None:
        self._signature = signature
        self._spec = spec
        self._limits = limits
        self._form = form
        self._engine = engine
        self._warned: set[str] = set()

    def read(self, request: InferRequest) -> CurrentJob:
        """Return the job of a request; raise INVALID_ARG with all its problems."""
        for name in ("input_ids", self._form.limit):
            if name not in request.inputs:
                raise invalid(f"{request.log_prefix}'{name}' is missing")
        table = request.inputs["input_ids"].array
        batched = table.ndim == 2
        table = table.astype(np.int64) if batched else table.astype(np.int64)[None]
        arguments = Arguments(request, len(table), self._warned)
        prompts = read_prompts(arguments, self._spec)
        sequences = self._sequences(arguments, table, prompts)
        beams = self._beams(arguments)
        limits = self._output_limits(arguments, [len(ids) for ids in sequences])
        steps = max(limits, default=0)
        width = steps + table.shape[1] if self._form.with_prompt else steps
        if not arguments.problems:
            arguments.check_tokens(self._form.limit, beams, width, self._limits.output_elements)
        tasks = read_adapter_tasks(arguments, self._spec)
        decodings = read_decodings(arguments, self._spec, beams, limits)
        arguments.check()
        rows = [
            SequenceRequest(ids, decoding, adapter_task=task, prompt_task=stored, prompt=brought)
            for ids, decoding, task, stored, brought in zip(
                sequences, decodings, tasks, prompts.tasks, prompts.tables, strict=True
            )
        ]
        ends = [decoding.end_id for decoding in decodings]
        layout = OutputLayout(beams, width, steps, ends, sequences if self._form.with_prompt else None)
        return CurrentJob(
            rows,
            self._signature,
            layout,
            batched,
            asked(arguments, "is_return_log_probs"),
            self._embeddings(arguments, rows),
        )

    def _sequences(self, arguments: Arguments, table: np.ndarray, prompts: PromptTables) -> list[np.ndarray]:
        limit = min(self._limits.input_tokens, self._spec.input_stack.position_rows or self._limits.input_tokens)
        lengths = read_lengths(arguments, self._form.lengths, table.shape[1], limit)
        sequences = [ids[: max(0, length)] for ids, length in zip(table, lengths, strict=True)]
        check_ids(arguments, "input_ids", sequences, prompts, self._spec)
        return sequences

    def _beams(self, arguments: Arguments) -> int:
        beams = arguments.first("beam_width", 1)
        if 1 <= beams <= MAX_BEAMS:
            return beams
        arguments.refuse("beam_width", f"is {beams}, expected 1 to {MAX_BEAMS}")
        return 1

    def _output_limits(self, arguments: Arguments, lengths: Sequence[int]) -> list[int]:
        """Return how many tokens each row may generate."""
        form, most, stack = self._form, self._limits.output_tokens, self._spec.output_stack
        if form.limit_per_row:
            limits = arguments.whole(form.limit, 0)
        else:
            limits = [arguments.first(form.limit, 0)] * arguments.rows
        for row, limit in enumerate(limits if form.limit_per_row else limits[:1]):
            reach = limit + lengths[row] if form.with_prompt else limit
            if not 1 <= limit <= most:
                arguments.refuse(form.limit, f"is {limit}, expected 1 to {most} (MAX_OUTPUT_LEN)", row)
            elif stack.position_rows and reach > stack.position_rows:
                arguments.refuse(
                    form.limit, f"makes {reach} tokens, the model has {stack.position_rows} positions", row
                )
        return limits

    def _embeddings(self, arguments: Arguments, rows: Sequence[SequenceRequest]) -> np.ndarray | None:
        """Return the sum of each prompt's hidden states, as FasterTransformer does (`sum_length_dimension`)."""
        if not self._form.with_prompt or not asked(arguments, "is_return_context_embeddings") or not rows:
            return None
        return np.stack([encoded.hidden.sum(axis=0) for encoded in self._engine.encode(rows)]).astype(np.float32)
