"""BERT and ViT: encoder-only models whose layers are stored under the same names. Heads and poolers are not read.

BERT has norms after each block, learned positions and token types. ViT has image patches with a class token before
them, and norms before each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    FLAT,
    UNBATCHED,
    ArraySource,
    CheckpointMapping,
    StoredArrays,
    Table,
    linear,
    norm,
    prefix_of,
)
from slipway.errors import unsupported
from slipway.transformer.spec import Stack, Transformer, Vision, standard_scale

# The model returns the last hidden states, so anything on top of them is ignored.
_BERT_IGNORABLE = (
    r"(bert\.)?pooler\..*",
    r"(bert\.)?embeddings\.position_ids",
    r"cls\..*",
    r"classifier\..*",
    r"qa_outputs\..*",
)
_VIT_IGNORABLE = (r"(vit\.)?pooler\..*", r"classifier\..*", r"(vit\.)?embeddings\.mask_token", r"decoder\.0\..*")
_SIZES = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")


def read_bert(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a BERT checkpoint, without pooler and task heads."""
    *sizes, positions, vocabulary = settings.sizes(*_SIZES, "max_position_embeddings", "vocab_size")
    kind = settings.config.get("position_embedding_type") or "absolute"
    if kind != "absolute" or settings.flag("is_decoder", default=False):
        raise unsupported(f"{settings.path}: only BERT encoders with absolute positions are supported")
    encoder = replace(
        _stack(settings, sizes),
        vocabulary=vocabulary,
        position_rows=positions,
        embedding_norm=True,
        token_types=settings.size("type_vocab_size", 2),
    )
    prefix = prefix_of(stored, "bert.")
    embeddings = f"{prefix}embeddings"
    table: Table = {
        "encoder.embedding.tokens": ArraySource((f"{embeddings}.word_embeddings.weight",)),
        "encoder.embedding.positions": ArraySource((f"{embeddings}.position_embeddings.weight",)),
        "encoder.embedding.types": ArraySource((f"{embeddings}.token_type_embeddings.weight",)),
        **norm("encoder.embedding.norm", f"{embeddings}.LayerNorm"),
        **_layers(encoder, prefix, "attention.self", norms=("attention.output.LayerNorm", "output.LayerNorm")),
    }
    return CheckpointMapping(Transformer(encoder=encoder), table, _BERT_IGNORABLE)


def read_vit(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a ViT checkpoint, without pooler and task heads."""
    sizes = settings.sizes(*_SIZES)
    image, patch = settings.sizes("image_size", "patch_size")
    if not settings.flag("qkv_bias", default=True):
        raise unsupported(f"{settings.path}: 'qkv_bias' is false, but only ViT with these biases is supported")
    vision = Vision(image, patch, settings.size("num_channels", 3))
    encoder = replace(
        _stack(settings, sizes), pre_norm=True, position_rows=vision.tokens, final_norm=True, vision=vision
    )
    prefix = prefix_of(stored, "vit.")
    embeddings = f"{prefix}embeddings"
    table: Table = {
        **linear("encoder.embedding.patch", f"{embeddings}.patch_embeddings.projection"),
        "encoder.embedding.class": ArraySource((f"{embeddings}.cls_token",), FLAT),
        "encoder.embedding.positions": ArraySource((f"{embeddings}.position_embeddings",), UNBATCHED),
        **norm("encoder.final_norm", f"{prefix}layernorm"),
        **_layers(encoder, prefix, "attention.attention", norms=("layernorm_before", "layernorm_after")),
    }
    return CheckpointMapping(Transformer(encoder=encoder), table, _VIT_IGNORABLE)


def _stack(settings: HuggingFaceSettings, sizes: Sequence[int]) -> Stack:
    """Return the stack that both share; `sizes` are the values of `_SIZES`."""
    layers, heads, hidden, inner = sizes
    head_size = hidden // heads
    return Stack(
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_size=head_size,
        inner=inner,
        vocabulary=0,
        norm_epsilon=settings.number("layer_norm_eps", 1e-12),
        activation=settings.activation("hidden_act", "gelu"),
        attention_scale=standard_scale(head_size),
    )


def _layers(encoder: Stack, prefix: str, attention: str, *, norms: tuple[str, str]) -> Table:
    """Return the rows of all layers: query, key and value are stored under `attention`; `norms` are the norms of the
    self-attention and the feed-forward block."""
    table: Table = {}
    for layer in range(encoder.layers):
        canonical, stored = f"encoder.layers.{layer}", f"{prefix}encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            table |= linear(f"{canonical}.self_attention.{part}", f"{stored}.{attention}.{part}")
        table |= linear(f"{canonical}.self_attention.output", f"{stored}.attention.output.dense")
        table |= norm(f"{canonical}.self_attention.norm", f"{stored}.{norms[0]}")
        table |= linear(f"{canonical}.feed_forward.up", f"{stored}.intermediate.dense")
        table |= linear(f"{canonical}.feed_forward.down", f"{stored}.output.dense")
        table |= norm(f"{canonical}.feed_forward.norm", f"{stored}.{norms[1]}")
    return table
