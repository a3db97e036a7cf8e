"""Build a stack's input from rows: packed ids, vectors that replace ids, features per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slipway.errors import internal
from slipway.transformer.generation import SequenceRequest
from slipway.transformer.module.inputs import (
    EmbeddedTokens,
    EmbeddingOverrides,
    Images,
    PackedSequences,
    TokenFeatures,
    TokenIds,
)
from slipway.transformer.module.network import Network
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.spec import Gate, Languages, Stack, Transformer

_STARTING = (Languages.PREFIX_TOKEN, Languages.TARGET_IN_SOURCE)  # source and answer begin with a language's row


class InputBuilder:
    """Makes the inputs of a network's outer stack (the encoder, or the only decoder) and of its decoder."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._spec = network.spec
        self._device = network.like.device
        self._outer = network.input_stack

    def outer(self, rows: Sequence[SequenceRequest], *, right: bool = False) -> PackedSequences:
        """Return the input of the outer stack; `right` aligns rows at the right, so that decoding can continue them."""
        stack = self._outer.stack
        layout = PackedLayout([outer_length(self._spec, row) for row in rows], self._device, right=right)
        features = self._features(stack, rows, [row.source_language for row in rows])
        if stack.vision is not None:
            pixels = np.stack([np.asarray(row.pixels, np.float32) for row in rows])
            return PackedSequences(layout, Images(torch.from_numpy(pixels).to(self._device)), features)
        if rows[0].hidden is not None:
            hidden = np.concatenate([np.asarray(row.hidden, np.float32) for row in rows])
            return PackedSequences(layout, EmbeddedTokens(torch.from_numpy(hidden).to(self._network.like)), features)
        return PackedSequences(layout, self._ids(rows), features)

    def decoder_features(self, rows: Sequence[SequenceRequest]) -> TokenFeatures:
        """Return the features of the tokens of a decoder with an encoder, per row."""
        return self._features(self._spec.output_stack, rows, [row.target_language for row in rows])

    def starts(self, rows: Sequence[SequenceRequest]) -> EmbeddingOverrides | None:
        """Return the vectors that replace the rows' first decoder tokens, None if those are plain ids."""
        if self._spec.language_mode not in _STARTING or self._network.decoder is None:
            return None
        languages = self._tensor([row.target_language for row in rows])
        vectors = self._network.decoder.embedding.language_vectors(languages)
        return EmbeddingOverrides(torch.arange(len(rows), device=self._device), vectors)

    def _features(self, stack: Stack, rows: Sequence[SequenceRequest], languages: list[int]) -> TokenFeatures:
        tasks = experts = every_token = None
        if stack.adapter_tasks:
            none = stack.adapter_tasks
            tasks = self._tensor([none if row.adapter_task is None else row.adapter_task for row in rows])
        if stack.experts is not None and stack.experts.gate is Gate.HARD:
            table = dict(self._spec.language_experts)
            experts = self._tensor([table[language] for language in languages])
        if self._spec.language_mode is Languages.EVERY_TOKEN and stack.languages:
            every_token = self._tensor(languages)
        return TokenFeatures(tasks, experts, every_token)

    def _ids(self, rows: Sequence[SequenceRequest]) -> TokenIds:
        """Return the packed ids, with a vector for each token that has no id."""
        spec, stack = self._spec, self._outer.stack
        stand_in = 1 if stack.padding_id == 0 else 0  # any id with an embedding: it is replaced
        parts: list[np.ndarray] = []
        places: list[int] = []
        vectors: list[Tensor] = []
        first = 0
        for row in rows:
            ids = np.asarray(row.ids, np.int64)
            if spec.prompts or row.prompt is not None:
                virtual = np.flatnonzero(ids >= spec.prompt_start_id)
                if virtual.size:
                    vectors.append(self._prompt(row)[self._tensor((ids[virtual] - spec.prompt_start_id).tolist())])
                    places.extend((virtual + first + prefix_length(spec)).tolist())
                    ids = np.where(ids >= spec.prompt_start_id, stand_in, ids)
            if prefix_length(spec):
                vectors.append(self._prefix(row))
                places.append(first)
                ids = np.concatenate([[stand_in], ids])
            parts.append(ids)
            first += len(ids)
        packed = torch.from_numpy(np.concatenate(parts)).to(self._device)
        return TokenIds(packed, EmbeddingOverrides(self._tensor(places), torch.cat(vectors)) if places else None)

    def _prompt(self, row: SequenceRequest) -> Tensor:
        if row.prompt is not None:
            return torch.from_numpy(np.array(row.prompt, np.float32)).to(self._network.like)
        if row.prompt_task is None:
            raise internal("a row with virtual tokens has no prompt table")  # `refusal` checks this first
        return self._network.prompts[row.prompt_task]

    def _prefix(self, row: SequenceRequest) -> Tensor:
        target = self._spec.language_mode is Languages.TARGET_IN_SOURCE
        language = row.target_language if target else row.source_language
        return self._outer.embedding.language_vectors(self._tensor([language]))

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)


def prefix_length(spec: Transformer) -> int:
    """Return how many tokens precede a row's own: one if it begins with a language."""
    return 1 if spec.language_mode in _STARTING else 0


def outer_length(spec: Transformer, row: SequenceRequest) -> int:
    """Return how many tokens a row has in the outer stack."""
    vision = spec.input_stack.vision
    if vision is not None:
        return vision.tokens
    return len(row.hidden) if row.hidden is not None else len(row.ids) + prefix_length(spec)
