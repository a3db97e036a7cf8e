"""Random weights for any specification, and a second implementation of everything: one row at a time, no cache, no
batch, no fused products; written for reading, not for speed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.generation import SequenceRequest
from slipway.transformer.module.relative_bias import buckets
from slipway.transformer.spec import Activation, Gate, Languages, Norm, Positions, Stack, Transformer
from slipway.transformer.weights import Array, Weights, expected_shapes, token_table

ACTIVATIONS = {
    Activation.RELU: functional.relu,
    Activation.GELU: functional.gelu,
    Activation.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    Activation.SILU: functional.silu,
}


def random_weights(spec: Transformer, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    arrays = {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in expected_shapes(spec).items()}
    return Weights({name: Array(array.shape, lambda array=array: array) for name, array in arrays.items()})


class Dense:
    """A transformer, one row at a time."""

    def __init__(self, spec: Transformer, weights: Weights) -> None:
        self.spec = spec
        self.arrays = {name: torch.from_numpy(weights[name]) for name in weights}

    def encode(self, row: SequenceRequest) -> Tensor:
        name, stack = ("encoder", self.spec.encoder) if self.spec.encoder else ("decoder", self.spec.decoder)
        ids = torch.from_numpy(np.asarray(row.ids)).long()
        x = self.tokens(name, stack, ids, row, outer=True)
        masked_tokens = ids == stack.padding_id if stack.padding_id is not None else torch.zeros(len(ids), dtype=bool)
        if len(x) > len(ids):
            masked_tokens = torch.cat([torch.tensor([False]), masked_tokens])
        self.memory_mask = masked_tokens
        return self.run(name, stack, x, row, masked_tokens, None)

    def scores(self, row: SequenceRequest, generated: list[int]) -> Tensor:
        """Return the scores of the token after the generated ones."""
        spec, stack = self.spec, self.spec.decoder
        memory = self.encode(row) if spec.encoder else None
        ids = torch.tensor([*([row.decoding.start_id] if spec.encoder else row.ids.tolist()), *generated])
        x = self.tokens("decoder", stack, ids, row, outer=spec.encoder is None)
        masked_tokens = ids == stack.padding_id if stack.padding_id is not None else torch.zeros(len(ids), dtype=bool)
        x = self.run("decoder", stack, x, row, masked_tokens, memory)
        head = self.arrays[token_table(spec) if spec.tied_head else "head.weight"]
        return head @ x[-1] * spec.logit_scale + (self.arrays["head.bias"] if spec.head_bias else 0)

    def greedy(self, row: SequenceRequest) -> tuple[list[int], float]:
        generated: list[int] = []
        total = 0.0
        while len(generated) < row.decoding.max_tokens:
            best = self.scores(row, generated).log_softmax(-1).max(-1)
            generated.append(int(best.indices))
            total += float(best.values)
            if generated[-1] == row.decoding.end_id:
                break
        return generated, total

    def tokens(self, name: str, stack: Stack, ids: Tensor, row: SequenceRequest, *, outer: bool) -> Tensor:
        spec, get = self.spec, self.arrays
        table = get[token_table(spec) if name == "decoder" or spec.shared_embedding else "encoder.embedding.tokens"]
        own = row.source_language if name == "encoder" else row.target_language
        lines = []
        mode = spec.language_mode
        starting = mode in (Languages.PREFIX_TOKEN, Languages.TARGET_IN_SOURCE)
        if outer and starting:
            prefix = row.source_language if mode is Languages.PREFIX_TOKEN else row.target_language
            lines.append(get["encoder.embedding.languages"][prefix])
        for place, token in enumerate(ids.tolist()):
            if not outer and place == 0 and starting:
                lines.append(get["decoder.embedding.languages"][own])
            elif outer and (spec.prompts or row.prompt is not None) and token >= spec.prompt_start_id:
                prompt = (
                    torch.from_numpy(row.prompt)
                    if row.prompt is not None
                    else get[f"prompts.{spec.prompts[row.prompt_task][0]}"]
                )
                lines.append(prompt[token - spec.prompt_start_id])
            else:
                lines.append(table[token] * stack.embedding_scale)
        x = torch.stack(lines)
        if stack.positions is Positions.TABLE:
            x = x + get[f"{name}.embedding.positions"][: len(x)]
        if stack.token_types:
            x = x + get[f"{name}.embedding.types"][0]
        if mode is Languages.EVERY_TOKEN:
            x = x + get[f"{name}.embedding.languages"][own]
        if stack.padding_id is not None:
            x[len(x) - len(ids) :][ids == stack.padding_id] = 0
        return self.norm(f"{name}.embedding.norm", stack, x) if stack.embedding_norm else x

    def bias(self, name: str, stack: Stack, layer: int, masked_tokens: Tensor) -> Tensor:
        causal, length = name == "decoder", len(masked_tokens)
        bias = torch.zeros(stack.heads, length, length)
        if stack.positions is Positions.RELATIVE:
            distances = torch.arange(length)[None] - torch.arange(length)[:, None]
            found = buckets(
                distances, count=stack.relative_buckets, furthest=stack.relative_max_distance, both_ways=not causal
            )
            own = f"{name}.layers.{layer}.self_attention" if stack.relative_per_layer else name
            bias += self.arrays[f"{own}.relative_bias"][found].permute(2, 0, 1)
        bias[:, :, masked_tokens] += -1e9
        return bias + torch.full((length, length), -2e9).triu(1) if causal else bias

    def run(
        self, name: str, stack: Stack, x: Tensor, row: SequenceRequest, masked_tokens: Tensor, memory: Tensor | None
    ) -> Tensor:
        causal = name == "decoder"
        for layer in range(stack.layers):
            prefix = f"{name}.layers.{layer}"
            bias = self.bias(name, stack, layer, masked_tokens)
            blocks = [("self_attention", lambda y, p, b=bias: self.attention(p, stack, row, y, y, b))]
            if memory is not None:
                looked = torch.zeros(1, 1, len(memory)).masked_fill(self.memory_mask, -1e9)
                blocks.append(("cross_attention", lambda y, p, m=looked: self.attention(p, stack, row, y, memory, m)))
            blocks.append(("feed_forward", lambda y, p, i=layer: self.wide(p, stack, row, y, i, causal)))
            for block, compute in blocks:
                own = f"{prefix}.{block}"
                if stack.pre_norm:
                    x = x + compute(self.norm(f"{own}.norm", stack, x), own)
                else:
                    x = self.norm(f"{own}.norm", stack, x + compute(x, own))
        return self.norm(f"{name}.final_norm", stack, x) if stack.final_norm else x

    def attention(
        self, prefix: str, stack: Stack, row: SequenceRequest, x: Tensor, other: Tensor, bias: Tensor
    ) -> Tensor:
        query, key, value = (
            self.linear(f"{prefix}.{part}", y) for part, y in (("query", x), ("key", other), ("value", other))
        )
        if stack.adapter_tasks and row.adapter_task is not None:
            key = key * self.arrays[f"{prefix}.key_scale"][row.adapter_task]
            value = value * self.arrays[f"{prefix}.value_scale"][row.adapter_task]
        query, key, value = (y.view(len(y), stack.heads, -1).transpose(0, 1) for y in (query, key, value))
        weights = (query @ key.transpose(1, 2) * stack.attention_scale + bias).softmax(-1)
        return self.linear(f"{prefix}.output", (weights @ value).transpose(0, 1).reshape(len(x), -1))

    def wide(self, prefix: str, stack: Stack, row: SequenceRequest, x: Tensor, layer: int, causal: bool) -> Tensor:
        if not stack.has_experts(layer):
            return self.feed_forward(prefix, stack, row, x, None)
        experts = stack.experts
        if experts.gate is Gate.HARD:
            language = row.target_language if causal else row.source_language
            return self.feed_forward(prefix, stack, row, x, dict(self.spec.language_experts)[language])
        every = torch.stack([self.feed_forward(prefix, stack, row, x, expert) for expert in range(experts.count)])
        probabilities = (x @ self.arrays[f"{prefix}.router.weight"].t()).softmax(-1)
        kept = torch.zeros_like(probabilities)
        best = probabilities.topk(experts.top_k).indices
        kept.scatter_(1, best, probabilities.gather(1, best))
        return torch.einsum("te,eth->th", kept, every)

    def feed_forward(self, prefix: str, stack: Stack, row: SequenceRequest, x: Tensor, expert: int | None) -> Tensor:
        inner = ACTIVATIONS[stack.activation](self.linear(f"{prefix}.up", x, expert))
        if stack.gated:
            inner = inner * self.linear(f"{prefix}.gated", x, expert)
        if stack.adapter_tasks and row.adapter_task is not None:
            inner = inner * self.arrays[f"{prefix}.scale"][row.adapter_task]
        return self.linear(f"{prefix}.down", inner, expert)

    def linear(self, prefix: str, x: Tensor, expert: int | None = None) -> Tensor:
        weight, bias = self.arrays[f"{prefix}.weight"], self.arrays.get(f"{prefix}.bias")
        if expert is not None:
            weight, bias = weight[expert], None if bias is None else bias[expert]
        return functional.linear(x, weight, bias)

    def norm(self, prefix: str, stack: Stack, x: Tensor) -> Tensor:
        scale = self.arrays[f"{prefix}.scale"]
        if stack.norm is Norm.RMS:
            return x / (x.square().mean(-1, keepdim=True) + stack.norm_epsilon).sqrt() * scale
        return functional.layer_norm(x, scale.shape, scale, self.arrays[f"{prefix}.bias"], stack.norm_epsilon)
