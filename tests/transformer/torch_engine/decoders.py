"""Tiny random decoders of `transformers`, described and named as our specifications are: the independent reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from slipway.transformer.spec import Activation, Norm, Positions, Rotary, Stack, Transformer, standard_scale
from slipway.transformer.weights import Array, Weights, check_complete

VOCABULARY = 100
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA_SIZES = SIZES | {"num_key_value_heads": 2, "intermediate_size": 48}
LLAMA = Stack(
    3, 32, 4, 8, 48, VOCABULARY, norm=Norm.RMS, norm_epsilon=1e-6, pre_norm=True, final_norm=True,
    activation=Activation.SILU, gated=True, attention_bias=False, feed_forward_bias=False,
    positions=Positions.ROTARY, rotary=Rotary(8), key_value_heads=2, context=256, attention_scale=standard_scale(8),
)  # fmt: skip

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Decoder:
    """A model of `transformers` and the same one in our terms."""

    model: Any
    spec: Transformer
    weights: Weights

    def logits(self, ids: list[int]) -> np.ndarray:
        """Return the scores after each token of one sequence, float32 [tokens, vocabulary]."""
        with torch.no_grad():
            found: np.ndarray = self.model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
        return found


def decoder(model: Any, spec: Transformer, rename: Callable[[Arrays], Arrays], *, seed: int = 0) -> Decoder:
    """Give a model random weights and return it with its arrays under canonical names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1.0 + 0.2 * spread if parameter.ndim == 1 else 0.3 * spread)
    model.eval()
    arrays = rename({name: tensor.numpy().copy() for name, tensor in model.state_dict().items()})
    weights = Weights({name: Array(array.shape, lambda array=array: array) for name, array in arrays.items()})
    check_complete(spec, weights, "the test's model")
    return Decoder(model, spec, weights)


def renamed(arrays: Arrays, names: dict[str, str], layer_names: dict[str, str], *, layers: int = 3) -> Arrays:
    """Return arrays under their canonical names: `names` from stored to canonical ones, `layer_names` those of each
    layer, with {} for its number in the first of them, and {part} for query, key and value in both."""
    found = {own: arrays[stored] for stored, own in names.items()}
    fused = {
        stored.replace("{part}", each): own.replace("{part}", each)
        for stored, own in layer_names.items()
        for each in ("query", "key", "value")
    }
    for layer in range(layers):
        for stored, own in fused.items():
            for part in ("weight", "bias"):
                name = f"{stored.format(layer)}.{part}"
                if name in arrays:
                    norm = own.rsplit(".", 1)[-1].endswith("norm")
                    ending = "scale" if norm and part == "weight" else part
                    found[f"decoder.layers.{layer}.{own}.{ending}"] = arrays[name]
    return found


def split_heads(arrays: Arrays, stored: str, groups: int, queries: int, *, head_size: int = 8) -> Arrays:
    """Return arrays with the fused projections `stored` (with {} for the layer's number) as three: they consist of
    groups of some heads of queries, one of keys and one of values."""
    found = dict(arrays)
    for layer in range(3):
        for ending in ("weight", "bias"):
            name = f"{stored.format(layer)}.{ending}"
            if name not in arrays:
                continue
            heads = arrays[name].reshape(groups, queries + 2, head_size, *arrays[name].shape[1:])
            parts = {"query": heads[:, :-2], "key": heads[:, -2], "value": heads[:, -1]}
            prefix = name.rsplit(".", 2)[0]
            for part, values in parts.items():
                found[f"{prefix}.{part}.{ending}"] = values.reshape(-1, *arrays[name].shape[1:])
    return found


LLAMA_NAMES = {
    "model.embed_tokens.weight": "decoder.embedding.tokens",
    "model.norm.weight": "decoder.final_norm.scale",
    "lm_head.weight": "head.weight",
}
LLAMA_LAYER = {
    "model.layers.{}.self_attn.q_proj": "self_attention.query",
    "model.layers.{}.self_attn.k_proj": "self_attention.key",
    "model.layers.{}.self_attn.v_proj": "self_attention.value",
    "model.layers.{}.self_attn.o_proj": "self_attention.output",
    "model.layers.{}.mlp.gate_proj": "feed_forward.up",
    "model.layers.{}.mlp.up_proj": "feed_forward.gated",
    "model.layers.{}.mlp.down_proj": "feed_forward.down",
    "model.layers.{}.input_layernorm": "self_attention.norm",
    "model.layers.{}.post_attention_layernorm": "feed_forward.norm",
}


def llama_like(arrays: Arrays) -> Arrays:
    """Return the arrays of Llama and its kin under canonical names."""
    return renamed(arrays, LLAMA_NAMES, LLAMA_LAYER)


SANDWICH_LAYER = {name: own for name, own in LLAMA_LAYER.items() if not name.endswith("layernorm")} | {
    "model.layers.{}.self_attn.q_norm": "self_attention.query_norm",
    "model.layers.{}.self_attn.k_norm": "self_attention.key_norm",
    "model.layers.{}.input_layernorm": "self_attention.norm",
    "model.layers.{}.post_attention_layernorm": "self_attention.branch_norm",
    "model.layers.{}.pre_feedforward_layernorm": "feed_forward.norm",
    "model.layers.{}.post_feedforward_layernorm": "feed_forward.branch_norm",
}


def gemma_like(arrays: Arrays) -> Arrays:
    """Return the arrays of Gemma 2 and 3 under canonical names; its scales are stored less 1."""
    found = renamed(arrays, {name: own for name, own in LLAMA_NAMES.items() if "head" not in own}, SANDWICH_LAYER)
    return {name: array + 1 if name.endswith(".scale") else array for name, array in found.items()}


def olmo2_like(arrays: Arrays) -> Arrays:
    """Return the arrays of OLMo 2 under canonical names."""
    return renamed(arrays, LLAMA_NAMES, SANDWICH_LAYER)


def qwen3_like(arrays: Arrays) -> Arrays:
    """Return the arrays of Qwen 3 under canonical names."""
    norms = {name: own for name, own in SANDWICH_LAYER.items() if name.endswith("_norm")}
    return renamed(arrays, LLAMA_NAMES, LLAMA_LAYER | norms)
