"""tensor2tensor's Transformer with gradients, over padded batches.

The network that serves requests (`transformer/module`) multiplies weights that are laid out for inference and writes
into its inputs; neither has a gradient. A test holds the two equal: the same arrays, the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Final

import torch
from torch import Tensor
from torch.nn import Parameter, ParameterDict, functional

from slipway.checkpoints.sinusoidal_positions import timing_signal
from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.checkpoints.tensor2tensor.layout import GENERIC_SPACE, MODEL, PADDING_ID, TARGET_SPACE, token_tables
from slipway.train.network.attention import PaddedAttention, future_bias, padding_bias
from slipway.train.network.dropout import Dropout
from slipway.train.network.loss import LossSum, smoothed_cross_entropy
from slipway.train.network.parameters import table_name

_BODY: Final = f"{MODEL}/body"


class TrainingNetwork(torch.nn.Module):
    """The Transformer of `hparams`; `values` are its parameters (`expected_parameters`).

    The module's own parameters are in `weights`, under tensor2tensor's names. `forward` returns a loss, so that
    DistributedDataParallel can wrap the network.
    """

    def __init__(self, hparams: HParams, vocabulary: int, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.hparams = hparams
        self.vocabulary = vocabulary
        parameters = {name: Parameter(value) for name, value in values.items()}
        self.weights = ParameterDict(parameters)
        tables = token_tables(hparams, vocabulary)
        self._source, self._target, self._head = map(table_name, (tables.source, tables.target, tables.head))
        self._input_dropout = Dropout(hparams.layer_prepostprocess_dropout)
        self._layers = {
            stack: [_Layer(hparams, parameters, f"{_BODY}/{stack}/layer_{layer}", stack) for layer in range(layers)]
            for stack, layers in (("encoder", hparams.encoder_layers), ("decoder", hparams.decoder_layers))
        }
        self._last_norms = {
            stack: _norm(parameters, f"{_BODY}/{stack}/layer_prepostprocess", hparams)
            for stack in self._layers
            if hparams.pre_norm
        }
        self._timings: dict[torch.device, Tensor] = {}

    def forward(self, inputs: Tensor, targets: Tensor, tokens: float) -> Tensor:
        """Return the label-smoothed cross entropy of the targets, divided by `tokens`, and keep its graph.

        `inputs` and `targets` are ids int64 [rows, length], 0 after the end. `tokens` is the number of target tokens
        in the whole step, over all processes and accumulated batches.
        """
        labels = targets[targets != PADDING_ID]
        table = self.weights[self._head]
        return (
            smoothed_cross_entropy(self.hidden(inputs, targets), table, labels, self.hparams.label_smoothing) / tokens
        )

    def evaluate(self, inputs: Tensor, targets: Tensor) -> LossSum:
        """Return the loss without smoothing and the best token at each target position, without a graph."""
        with torch.no_grad():
            labels = targets[targets != PADDING_ID]
            return LossSum.of(self.hidden(inputs, targets), self.weights[self._head], labels)

    def hidden(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the decoder's last hidden states at the target tokens, [target tokens, hidden]."""
        memory, bias = self.encode(inputs)
        return self.decode(targets, memory, bias)[targets != PADDING_ID]

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the encoder's output [rows, length, hidden] and the bias that masks its padding."""
        bias = padding_bias(inputs == PADDING_ID)
        added = self._timing(inputs)
        if self.hparams.use_target_space_embedding:
            added = added + self.weights[TARGET_SPACE][GENERIC_SPACE]  # the space of all text problems
        x = self._embed(inputs, self._source) + added
        if self.training:
            x = self._input_dropout(x)
        for layer in self._layers["encoder"]:
            x = layer(x, bias, None, None, training=self.training)
        return self._end(x, "encoder"), bias

    def decode(self, targets: Tensor, memory: Tensor, memory_bias: Tensor | None) -> Tensor:
        """Return the decoder's output [rows, length, hidden] at each position, which sees the targets before it."""
        x = self._embed(targets[:, :-1], self._target)
        x = functional.pad(x, (0, 0, 1, 0)) + self._timing(targets)  # shifted right; the first input is zero
        if self.training:
            x = self._input_dropout(x)
        bias = future_bias(targets.shape[1], x)
        for layer in self._layers["decoder"]:
            x = layer(x, bias, memory, memory_bias, training=self.training)
        return self._end(x, "decoder")

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores over the vocabulary of hidden states [..., hidden]."""
        return torch.matmul(hidden, self.weights[self._head].t())

    def _embed(self, ids: Tensor, table: str) -> Tensor:
        scale = (ids != PADDING_ID).unsqueeze(-1) * sqrt(self.hparams.hidden_size)
        return functional.embedding(ids, self.weights[table], padding_idx=PADDING_ID) * scale

    def _end(self, x: Tensor, stack: str) -> Tensor:
        """Return the normalised output of a pre-norm stack."""
        norm = self._last_norms.get(stack)
        return x if norm is None else norm(x)

    def _timing(self, ids: Tensor) -> Tensor:
        """Return the position signal [length, hidden]: all sines, then all cosines."""
        length = ids.shape[1]
        known = self._timings.get(ids.device)
        if known is None or known.shape[0] < length:
            known = torch.from_numpy(timing_signal(max(256, length), self.hparams.hidden_size)).to(ids.device)
            self._timings[ids.device] = known
        return known[:length]


class _Layer:
    """Self-attention, attention to the encoder in a decoder, and the feed-forward block."""

    def __init__(self, hparams: HParams, weights: Mapping[str, Tensor], prefix: str, stack: str) -> None:
        attention = Dropout.of(hparams.attention_dropout, hparams.attention_dropout_broadcast_dims)
        self._pre_norm = hparams.pre_norm
        self._after = Dropout.of(
            hparams.layer_prepostprocess_dropout, hparams.layer_prepostprocess_dropout_broadcast_dims
        )
        self._inner = Dropout.of(hparams.relu_dropout, hparams.relu_dropout_broadcast_dims)
        blocks = ["self_attention", *(["encdec_attention"] if stack == "decoder" else [])]
        self._attention = [
            PaddedAttention(weights, f"{prefix}/{block}", hparams.num_heads, attention) for block in blocks
        ]
        place = "layer_prepostprocess" if hparams.pre_norm else "layer_postprocess"
        self._norms = [_norm(weights, f"{prefix}/{block}/{place}", hparams) for block in (*blocks, "ffn")]
        self._ffn = [weights[f"{prefix}/ffn/{part}"] for part in ("conv1/kernel", "conv1/bias", "conv2/kernel")]
        self._ffn_bias = weights[f"{prefix}/ffn/conv2/bias"]

    def __call__(
        self, x: Tensor, bias: Tensor | None, memory: Tensor | None, memory_bias: Tensor | None, *, training: bool
    ) -> Tensor:
        """Return [rows, length, hidden]; `memory` is the encoder's output, for a decoder."""
        x = self._around(x, 0, lambda y: self._attention[0].itself(y, bias, training=training), training=training)
        if memory is not None:
            seen = memory
            x = self._around(
                x, 1, lambda y: self._attention[1].other(y, seen, memory_bias, training=training), training=training
            )
        return self._around(x, -1, lambda y: self._feed(y, training=training), training=training)

    def _around(self, x: Tensor, norm: int, block: Callable[[Tensor], Tensor], *, training: bool) -> Tensor:
        """Return x + dropout(f(norm(x))), or norm(x + dropout(f(x))) in a post-norm layer."""
        normalise = self._norms[norm]
        y = block(normalise(x)) if self._pre_norm else block(x)
        x = self._after.add(x, y) if training else x + y
        return x if self._pre_norm else normalise(x)

    def _feed(self, x: Tensor, *, training: bool) -> Tensor:
        up, up_bias, down = self._ffn
        inner = functional.linear(x, up.t(), up_bias).relu_()
        if training:
            inner = self._inner(inner)
        return functional.linear(inner, down.t(), self._ffn_bias)


def _norm(weights: Mapping[str, Tensor], scope: str, hparams: HParams) -> Callable[[Tensor], Tensor]:
    scale, bias = (weights[f"{scope}/layer_norm/layer_norm_{part}"] for part in ("scale", "bias"))
    return lambda x: functional.layer_norm(x, scale.shape, scale, bias, hparams.norm_epsilon)
