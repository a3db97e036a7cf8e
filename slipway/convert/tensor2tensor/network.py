"""The reference: a translation Transformer in numpy, as plain as its equations (Vaswani et al. 2017, section 3).

The served engines share nothing with it but the weights. Only what tensor2tensor's checkpoints contain: ReLU, layer
normalisation, position tables. Log-probabilities are float64, all else float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from slipway.errors import unsupported
from slipway.transformer.newer_features import newer_features
from slipway.transformer.spec import Activation, Norm, Positions, Stack, Transformer
from slipway.transformer.weights import token_table

KeysValues = tuple[np.ndarray, np.ndarray]  # [rows, heads, tokens, head size] each
_MASKED: Final = -1e9


@dataclass(slots=True)
class Hypotheses:
    """Equally long hypotheses of one input: what each decoder layer attends to, of the input and of themselves."""

    memory: list[KeysValues]  # of one row
    length: int = 0
    past: list[KeysValues] = field(default_factory=list)

    def follow(self, parents: list[int]) -> None:
        """Go on with the hypotheses `parents`."""
        self.past = [(keys[parents], values[parents]) for keys, values in self.past]


class PlainTransformer:
    """An encoder and a decoder, with all weights in memory."""

    def __init__(self, spec: Transformer, weights: Mapping[str, np.ndarray]) -> None:
        if spec.encoder is None or spec.decoder is None:
            raise unsupported("the reference computes only models with an encoder and a decoder")
        if newer := newer_features(spec):
            raise unsupported(f"the reference does not compute {', '.join(newer)}")
        for stack in (spec.encoder, spec.decoder):
            plain = stack.activation is Activation.RELU and stack.norm is Norm.LAYER and not stack.gated
            if not plain or stack.positions is not Positions.TABLE:
                raise unsupported("the reference computes only the architectures of tensor2tensor's checkpoints")
        self._encoder, self._decoder = spec.encoder, spec.decoder
        self._weights = {name: weights[name].astype(np.float32) for name in weights}
        self._target_tokens = token_table(spec)
        self._head = "head.weight" if "head.weight" in self._weights else self._target_tokens

    def read(self, ids: np.ndarray) -> Hypotheses:
        """Encode the input int64 [tokens] and return one hypothesis without tokens."""
        stack = self._encoder
        x = (
            self._embed("encoder.embedding.tokens", stack, ids)
            + self._weights["encoder.embedding.positions"][: len(ids)]
        )
        padding = np.zeros(len(ids), bool) if stack.padding_id is None else ids == stack.padding_id
        mask = np.where(padding, np.float32(_MASKED), np.float32(0))
        for layer in range(stack.layers):
            scope = f"encoder.layers.{layer}"
            x = self._block(stack, f"{scope}.self_attention", x, partial(self._attend_all, stack, mask))
            x = self._block(stack, f"{scope}.feed_forward", x, self._feed)
        if stack.final_norm:
            x = self._normalised(stack, "encoder.final_norm", x)
        scopes = (f"decoder.layers.{layer}.cross_attention" for layer in range(self._decoder.layers))
        return Hypotheses([self._keys_values(self._decoder, scope, x[None]) for scope in scopes])

    def step(self, state: Hypotheses, tokens: np.ndarray) -> np.ndarray:
        """Append one token, int64 [n], to each hypothesis; return the log-probabilities [n, vocabulary] of the next."""
        stack = self._decoder
        x = self._embed(self._target_tokens, stack, tokens)
        x = x + self._weights["decoder.embedding.positions"][state.length]
        past: list[KeysValues] = []
        for layer in range(stack.layers):
            scope = f"decoder.layers.{layer}"
            before = state.past[layer] if state.past else None
            x = self._block(stack, f"{scope}.self_attention", x, partial(self._attend_past, stack, before, past))
            x = self._block(stack, f"{scope}.cross_attention", x, partial(self._attend, stack, state.memory[layer]))
            x = self._block(stack, f"{scope}.feed_forward", x, self._feed)
        if stack.final_norm:
            x = self._normalised(stack, "decoder.final_norm", x)
        state.past, state.length = past, state.length + 1
        scores = (x @ self._weights[self._head].T).astype(np.float64)
        scores -= scores.max(-1, keepdims=True)
        log_probabilities: np.ndarray = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        return log_probabilities

    def _block(
        self, stack: Stack, scope: str, x: np.ndarray, compute: Callable[[str, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        if stack.pre_norm:
            grown: np.ndarray = x + compute(scope, self._normalised(stack, f"{scope}.norm", x))
            return grown
        return self._normalised(stack, f"{scope}.norm", x + compute(scope, x))

    def _attend_all(self, stack: Stack, mask: np.ndarray, scope: str, x: np.ndarray) -> np.ndarray:
        """Let the tokens [tokens, hidden] of an input attend to each other."""
        queries = self._heads(stack, f"{scope}.query", x[None])
        mixed: np.ndarray = self._mixed(stack, scope, queries, self._keys_values(stack, scope, x[None]), mask)[0]
        return mixed

    def _attend_past(
        self, stack: Stack, before: KeysValues | None, kept: list[KeysValues], scope: str, x: np.ndarray
    ) -> np.ndarray:
        """Let the newest tokens [n, hidden] attend to themselves and to those before; keep both in `kept`."""
        keys, values = self._keys_values(stack, scope, x[:, None])
        if before is not None:
            keys, values = np.concatenate([before[0], keys], 2), np.concatenate([before[1], values], 2)
        kept.append((keys, values))
        return self._attend(stack, (keys, values), scope, x)

    def _attend(self, stack: Stack, to: KeysValues, scope: str, x: np.ndarray) -> np.ndarray:
        return self._mixed(stack, scope, self._heads(stack, f"{scope}.query", x[:, None]), to)[:, 0]

    def _mixed(
        self, stack: Stack, scope: str, queries: np.ndarray, to: KeysValues, mask: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Return the attention [rows, tokens, hidden] of queries [rows, heads, tokens, head size]."""
        scores = queries @ to[0].swapaxes(-1, -2) * np.float32(stack.attention_scale) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ to[1]
        return self._linear(f"{scope}.output", mixed.swapaxes(1, 2).reshape(len(mixed), -1, stack.attention))

    def _keys_values(self, stack: Stack, scope: str, x: np.ndarray) -> KeysValues:
        return self._heads(stack, f"{scope}.key", x), self._heads(stack, f"{scope}.value", x)

    def _heads(self, stack: Stack, name: str, x: np.ndarray) -> np.ndarray:
        rows, tokens, _ = x.shape
        return self._linear(name, x).reshape(rows, tokens, stack.heads, stack.head_size).swapaxes(1, 2)

    def _feed(self, scope: str, x: np.ndarray) -> np.ndarray:
        return self._linear(f"{scope}.down", np.maximum(self._linear(f"{scope}.up", x), 0))

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = x @ self._weights[f"{name}.weight"].T
        bias = self._weights.get(f"{name}.bias")
        return y if bias is None else y + bias

    def _normalised(self, stack: Stack, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        scale, bias = self._weights[f"{name}.scale"], self._weights[f"{name}.bias"]
        scaled: np.ndarray = centred / np.sqrt(variance + np.float32(stack.norm_epsilon)) * scale + bias
        return scaled

    def _embed(self, table: str, stack: Stack, ids: np.ndarray) -> np.ndarray:
        vectors: np.ndarray = self._weights[table][ids] * np.float32(stack.embedding_scale)
        return vectors
