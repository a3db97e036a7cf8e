"""T5, mT5, UMT5, Flan-T5 and T5 v1.1: RMS norms before each block, relative positions, no biases, unscaled attention.

All layers of a stack share one table of relative positions, except in UMT5, where every layer has its own.
"""

from __future__ import annotations

from dataclasses import replace

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    ArraySource,
    CheckpointMapping,
    StoredArrays,
    Table,
    linear,
    norm,
    own_head,
)
from slipway.errors import invalid
from slipway.transformer.spec import Norm, Positions, Stack, Transformer
from slipway.transformer.weights import relative_biases

# If all are tied, any of them may be the one that was saved.
_TOKENS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
_FEED_FORWARD = {"up": "wi", "down": "wo"}
_GATED = {"up": "wi_0", "gated": "wi_1", "down": "wo"}


def read_t5(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a T5 checkpoint; a T5EncoderModel has no decoder."""
    encoder_layers, heads = settings.sizes("num_layers", "num_heads")
    default = "relu" if settings.model_type == "t5" else "gated-gelu"
    kind, _, gated_by = str(settings.config.get("feed_forward_proj") or default).partition("-")
    if gated_by and kind != "gated":
        raise invalid(f"{settings.path}: feed_forward_proj '{kind}-{gated_by}' is not 'gated-' plus an activation")
    # "gated-gelu" has always meant the tanh approximation.
    activation = "gelu_new" if gated_by == "gelu" else gated_by or kind
    hidden, inner, head_size, vocabulary = settings.sizes("d_model", "d_ff", "d_kv", "vocab_size")
    encoder = Stack(
        layers=encoder_layers,
        hidden=hidden,
        heads=heads,
        head_size=head_size,
        inner=inner,
        vocabulary=vocabulary,
        norm=Norm.RMS,
        norm_epsilon=settings.number("layer_norm_epsilon", 1e-6),
        pre_norm=True,
        activation=settings.known_activation(activation),
        gated=bool(gated_by),
        attention_bias=False,
        feed_forward_bias=False,
        positions=Positions.RELATIVE,
        relative_buckets=settings.size("relative_attention_num_buckets", 32),
        relative_max_distance=settings.size("relative_attention_max_distance", 128),
        relative_per_layer=settings.model_type == "umt5",
        final_norm=True,
    )
    encoder_only = settings.architecture.endswith("EncoderModel")
    own = not encoder_only and own_head(stored, "lm_head.weight", _TOKENS[:-1])
    tokens = _TOKENS[:-1] if own else _TOKENS
    spec = (
        Transformer(encoder=encoder)
        if encoder_only
        else Transformer(
            encoder=encoder,
            decoder=_decoder(encoder, settings.size("num_decoder_layers", encoder_layers)),
            shared_embedding=True,
            tied_head=not own,
            logit_scale=hidden**-0.5 if _scales(settings) else 1.0,
            start_id=settings.token_id("decoder_start_token_id", "pad_token_id", default=0),
            end_id=settings.token_id("eos_token_id", default=1),
        )
    )
    kept = next((name for name in tokens if name in stored), tokens[0])
    return CheckpointMapping(
        spec,
        _table(spec, tokens),
        # Old files contain a bias for cross-attention, which no version ever read.
        ignorable=(
            r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
            *((r"decoder\..*", r"lm_head\.weight") if encoder_only else ()),
        ),
        duplicates={name: kept for name in tokens if name != kept and not encoder_only},
    )


def _decoder(encoder: Stack, layers: int) -> Stack:
    return replace(encoder, layers=layers)


def _scales(settings: HuggingFaceSettings) -> bool:
    """Return whether hidden states are scaled before the head: in the first T5, but not in v1.1, mT5 and UMT5.

    Before transformers 5 `tie_word_embeddings` distinguished them; since then it is always true, and another key does.
    """
    tied = settings.flag("tie_word_embeddings", default=True)
    return settings.model_type != "mt5" and settings.flag("scale_decoder_outputs", default=tied)


def _table(spec: Transformer, tokens: tuple[str, ...]) -> Table:
    table: Table = {"encoder.embedding.tokens": ArraySource(tokens), "head.weight": ArraySource(("lm_head.weight",))}
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is None:
            continue
        for layer, bias in enumerate(relative_biases(name, stack)):
            stored = f"{name}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight"
            table[bias] = ArraySource((stored,))
        table |= norm(f"{name}.final_norm", f"{name}.final_layer_norm", bias=False)
        for layer in range(stack.layers):
            table |= _layer(f"{name}.layers.{layer}", f"{name}.block.{layer}.layer", stack, cross=name == "decoder")
    return table


def _layer(canonical: str, stored: str, stack: Stack, *, cross: bool) -> Table:
    blocks = [("self_attention", "SelfAttention"), *([("cross_attention", "EncDecAttention")] if cross else [])]
    table: Table = {}
    for place, (block, name) in enumerate(blocks):
        table |= norm(f"{canonical}.{block}.norm", f"{stored}.{place}.layer_norm", bias=False)
        for part in ("query", "key", "value", "output"):
            table |= linear(f"{canonical}.{block}.{part}", f"{stored}.{place}.{name}.{part[0]}", bias=False)
    last = f"{stored}.{len(blocks)}"
    table |= norm(f"{canonical}.feed_forward.norm", f"{last}.layer_norm", bias=False)
    for part, name in (_GATED if stack.gated else _FEED_FORWARD).items():
        table |= linear(f"{canonical}.feed_forward.{part}", f"{last}.DenseReluDense.{name}", bias=False)
    return table
