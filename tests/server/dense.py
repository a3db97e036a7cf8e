"""A transformer with languages and experts in plain numpy, one token at a time: the tests' own LightSeq Moe model.

Pre-norm encoder-decoder; every step recomputes the whole sequence, and every expert is computed for every token.
Written only from the format's description; shares no code with the engines.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from slipway.transformer.spec import Gate, Languages, Stack, Transformer


class Dense:
    """The model of `spec` and `weights`, for one row with the languages `source` and `target`."""

    def __init__(self, spec: Transformer, weights: Mapping[str, np.ndarray], source: int = 0, target: int = 0) -> None:
        self.spec = spec
        self.weights = weights
        self.languages = {"encoder": source, "decoder": target}

    def greedy(self, source: list[int], columns: int) -> tuple[list[int], float]:
        """Return at most `columns` - 1 greedy tokens, padded with the end token, and their log-probability."""
        encoded = self.encode(source)
        ids, total = [self.spec.start_id], 0.0
        while len(ids) < columns and (len(ids) == 1 or ids[-1] != self.spec.end_id):
            scores = self.scores(encoded, ids)
            ids.append(int(scores.argmax()))
            total += float(scores.max())
        return ids[1:] + [self.spec.end_id] * (columns + 1 - len(ids)), total

    def encode(self, source: list[int]) -> np.ndarray:
        """Return the encoder's states [tokens, hidden]."""
        stack = self.spec.encoder
        x = self.embedded("encoder", stack, np.array(source))
        for layer in range(stack.layers):
            prefix = f"encoder.layers.{layer}"
            normed = self.norm(x, f"{prefix}.self_attention.norm", stack)
            x = x + self.attention(normed, normed, f"{prefix}.self_attention", stack, causal=False)
            x = x + self.feed_forward(x, "encoder", layer, stack)
        return self.norm(x, "encoder.final_norm", stack)

    def scores(self, encoded: np.ndarray, ids: list[int]) -> np.ndarray:
        """Return the log-probabilities of the token after `ids`, which begin with the start token."""
        stack = self.spec.decoder
        x = self.embedded("decoder", stack, np.array(ids))
        for layer in range(stack.layers):
            prefix = f"decoder.layers.{layer}"
            normed = self.norm(x, f"{prefix}.self_attention.norm", stack)
            x = x + self.attention(normed, normed, f"{prefix}.self_attention", stack, causal=True)
            normed = self.norm(x, f"{prefix}.cross_attention.norm", stack)
            x = x + self.attention(normed, encoded, f"{prefix}.cross_attention", stack, causal=False)
            x = x + self.feed_forward(x, "decoder", layer, stack)
        last = self.norm(x, "decoder.final_norm", stack)[-1]
        logits = self.tokens("decoder") @ last * self.spec.logit_scale
        logits = logits + self.weights["head.bias"] if self.spec.head_bias else logits
        return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())

    def embedded(self, name: str, stack: Stack, ids: np.ndarray) -> np.ndarray:
        x = self.tokens(name)[ids] * stack.embedding_scale
        mode, prefix = self.spec.language_mode, f"{name}.embedding"
        if mode is not Languages.NONE:
            table = self.weights[f"{prefix}.languages"]
            if mode is Languages.EVERY_TOKEN:
                x = x + table[self.languages[name]]
            elif name == "decoder":  # types 2 and 3: the target language is the start token
                x[0] = table[self.languages[name]]
            else:
                first = self.languages["encoder" if mode is Languages.PREFIX_TOKEN else "decoder"]
                x = np.concatenate([table[first][None], x])
        return x + self.weights[f"{prefix}.positions"][: len(x)]

    def tokens(self, name: str) -> np.ndarray:
        own = "encoder" if self.spec.shared_embedding else name
        return self.weights[f"{own}.embedding.tokens"]

    def norm(self, x: np.ndarray, prefix: str, stack: Stack) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + stack.norm_epsilon)
        return centred / deviation * self.weights[f"{prefix}.scale"] + self.weights[f"{prefix}.bias"]

    def linear(self, x: np.ndarray, prefix: str) -> np.ndarray:
        return x @ self.weights[f"{prefix}.weight"].T + self.weights[f"{prefix}.bias"]

    def attention(self, x: np.ndarray, memory: np.ndarray, prefix: str, stack: Stack, *, causal: bool) -> np.ndarray:
        query, key, value = (
            self.linear(states, f"{prefix}.{part}").reshape(len(states), stack.heads, -1)
            for part, states in (("query", x), ("key", memory), ("value", memory))
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(stack.head_size)
        if causal:
            scores = scores + np.triu(np.full(scores.shape[1:], -np.inf), 1)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares = shares / shares.sum(-1, keepdims=True)
        return self.linear(np.einsum("hqk,khd->qhd", shares, value).reshape(len(x), -1), f"{prefix}.output")

    def feed_forward(self, x: np.ndarray, name: str, layer: int, stack: Stack) -> np.ndarray:
        prefix = f"{name}.layers.{layer}.feed_forward"
        x = self.norm(x, f"{prefix}.norm", stack)
        if not stack.has_experts(layer):
            return self.linear(np.maximum(self.linear(x, f"{prefix}.up"), 0), f"{prefix}.down")
        shares = self.gate(x, prefix, name, stack)  # [tokens, experts]
        return sum(shares[:, [expert]] * self.expert(x, prefix, expert) for expert in range(stack.experts.count))

    def gate(self, x: np.ndarray, prefix: str, name: str, stack: Stack) -> np.ndarray:
        experts = stack.experts
        if experts.gate is Gate.HARD:
            chosen = dict(self.spec.language_experts)[self.languages[name]]
            return np.tile(np.eye(experts.count)[chosen], (len(x), 1))
        scores = x @ self.weights[f"{prefix}.router.weight"].T
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares = shares / shares.sum(-1, keepdims=True)
        kept = np.sort(shares, axis=-1)[:, [-experts.top_k]]
        return np.where(shares >= kept, shares, 0)

    def expert(self, x: np.ndarray, prefix: str, expert: int) -> np.ndarray:
        parts = {
            key: self.weights[f"{prefix}.{key}"][expert] for key in ("up.weight", "up.bias", "down.weight", "down.bias")
        }
        inner = np.maximum(x @ parts["up.weight"].T + parts["up.bias"], 0)
        return inner @ parts["down.weight"].T + parts["down.bias"]
