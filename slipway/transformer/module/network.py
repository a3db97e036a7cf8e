"""The whole network: encode sequences, begin decoding, decode the next token."""

from __future__ import annotations

import torch
from torch import Tensor

from slipway.errors import unsupported
from slipway.transformer.module.decoder_state import DecoderState
from slipway.transformer.module.full_sequence import FullSequence
from slipway.transformer.module.inputs import PackedSequences
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.stack import StackNetwork
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import token_table


class Network:
    """A transformer's layers with their weights. Stateless between calls: decoding keeps a `DecoderState`."""

    def __init__(self, spec: Transformer, builder: LayerBuilder) -> None:
        self.spec = spec
        self.like = torch.empty(0, dtype=builder.dtype, device=builder.device)
        self._head_bias: Tensor | None = None
        tokens: Tensor | None = None
        if spec.decoder is not None:  # the largest arrays first, while most memory is free
            tokens = builder.tensor(token_table(spec))
            bias = builder.tensor("head.bias") if spec.head_bias else None
            self._head = builder.form(tokens if spec.tied_head else builder.tensor("head.weight"), bias)
            self._project = builder.linear("head.project") if spec.decoder.embedding_size else None
        shared = tokens if spec.shared_embedding else None
        self.prompts = [builder.tensor(f"prompts.{task}") for task, _ in spec.prompts]
        self.encoder = StackNetwork(builder, "encoder", spec.encoder, tokens=shared) if spec.encoder else None
        self.decoder = (
            StackNetwork(builder, "decoder", spec.decoder, tokens=tokens, cross=spec.has_cross_attention)
            if spec.decoder
            else None
        )

    @property
    def input_stack(self) -> StackNetwork:
        """The stack that the input enters: the encoder, or the decoder of a decoder-only model."""
        return self.encoder or self.output_stack

    @property
    def output_stack(self) -> StackNetwork:
        """The stack that generates; raises UNSUPPORTED for an encoder-only model."""
        if self.decoder is None:
            raise unsupported("the model is an encoder and cannot generate")
        return self.decoder

    def encode(self, sequences: PackedSequences, attentions: list[Tensor] | None = None) -> Tensor:
        """Return the last hidden states [tokens, hidden] of the encoder (or of a decoder-only model) and append each
        layer's probabilities [rows, heads, width, width] to `attentions`."""
        return self._run(self.input_stack, sequences, None, attentions)

    def begin(self, rows: int, *, expected: int, encoded: tuple[Tensor, PackedSequences] | None = None) -> DecoderState:
        """Return the state of `rows` rows before their first token, with room for `expected` tokens in the cache."""
        state = DecoderState(self.output_stack, self.like, rows=rows, expected=expected)
        if encoded is not None:
            hidden, sequences = encoded
            hidden_tokens = self.encoder.masked_tokens(sequences.ids) if self.encoder is not None else None
            mask = sequences.layout.key_mask(hidden_tokens, self.like.dtype)
            state.take_encoded(hidden, sequences, mask)
        return state

    def prompt(self, state: DecoderState, sequences: PackedSequences) -> Tensor:
        """Feed all tokens of the rows' prompts (right-aligned layout) and return their hidden states, [tokens, ...]."""
        decoder = self.output_stack
        hidden = self._run(decoder, sequences, state, None)
        state.take_prompts(sequences.layout, sequences.features, decoder.masked_tokens(sequences.ids))
        return hidden

    def step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        """Feed one token per hypothesis, int64 [n], and return the scores of the next, float32 [n, vocabulary]."""
        return self.scores(state.step(tokens))

    def scores(self, hidden: Tensor) -> Tensor:
        """Return the scores over the vocabulary, float32 [n, vocabulary], for a decoder's hidden states."""
        if self._project is not None:
            hidden = self._project(hidden)
        if self.spec.logit_scale != 1.0:
            hidden = hidden * self.spec.logit_scale
        scores = self._head(hidden).float()
        cap = self.spec.logit_softcap
        return scores.div_(cap).tanh_().mul_(cap) if cap else scores

    def _run(
        self,
        stack: StackNetwork,
        sequences: PackedSequences,
        state: DecoderState | None,
        attentions: list[Tensor] | None,
    ) -> Tensor:
        """Return the hidden states of whole sequences; keep their keys and values in `state`, if it is given."""
        layout = sequences.layout
        features = sequences.features.select(layout.row_of_token)
        mask = layout.key_mask(stack.masked_tokens(sequences.ids), self.like.dtype)
        view = FullSequence(
            stack.stack,
            layout,
            stack.full_sequence_bias(layout, mask, self.like, visible=attentions is not None),
            stack.turns(layout),
            cache=None if state is None else state.cache,
            attentions=attentions,
        )
        x = stack.embed(sequences, features)
        return stack(x, view, None if state is None else state.cross_cache, features)
