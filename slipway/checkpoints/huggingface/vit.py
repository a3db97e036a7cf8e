"""ViT: an encoder of image patches with a class token, norms before each block. Heads are not read."""

from __future__ import annotations

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    FLAT,
    UNBATCHED,
    ArraySource,
    CheckpointMapping,
    StoredArrays,
    Table,
    encoder_layer,
    linear,
    norm,
    prefix_of,
)
from slipway.errors import unsupported
from slipway.transformer.spec import Stack, Transformer, Vision, standard_scale

_IGNORABLE = (r"(vit\.)?pooler\..*", r"classifier\..*", r"(vit\.)?embeddings\.mask_token", r"decoder\.0\..*")


def read_vit(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a ViT checkpoint, without pooler and task heads."""
    layers, heads, hidden, inner = settings.sizes(
        "num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size"
    )
    image, patch = settings.sizes("image_size", "patch_size")
    if not settings.flag("qkv_bias", default=True):
        raise unsupported(f"{settings.path}: 'qkv_bias' is false, and only ViT with these biases is supported")
    vision = Vision(image, patch, settings.size("num_channels", 3))
    head_size = hidden // heads
    encoder = Stack(
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_size=head_size,
        inner=inner,
        vocabulary=0,
        norm_epsilon=settings.number("layer_norm_eps", 1e-12),
        pre_norm=True,
        activation=settings.activation("hidden_act", "gelu"),
        position_rows=vision.tokens,
        final_norm=True,
        attention_scale=standard_scale(head_size),
        vision=vision,
    )
    prefix = prefix_of(stored, "vit.")
    embeddings = f"{prefix}embeddings"
    table: Table = {
        **linear("encoder.embedding.patch", f"{embeddings}.patch_embeddings.projection"),
        "encoder.embedding.class": ArraySource((f"{embeddings}.cls_token",), FLAT),
        "encoder.embedding.positions": ArraySource((f"{embeddings}.position_embeddings",), UNBATCHED),
        **norm("encoder.final_norm", f"{prefix}layernorm"),
    }
    for layer in range(layers):
        table |= encoder_layer(
            f"encoder.layers.{layer}",
            f"{prefix}encoder.layer.{layer}",
            attention="attention.attention",
            norms=("layernorm_before", "layernorm_after"),
        )
    return CheckpointMapping(Transformer(encoder=encoder), table, _IGNORABLE)
