"""BERT: an encoder alone, norms after each block, learned positions, token types. Heads are not read."""

from __future__ import annotations

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    ArraySource,
    CheckpointMapping,
    StoredArrays,
    Table,
    encoder_layer,
    norm,
    prefix_of,
)
from slipway.errors import unsupported
from slipway.transformer.spec import Stack, Transformer, standard_scale

# The answer is the last hidden state: what stands on top of it has no place.
_IGNORABLE = (
    r"(bert\.)?pooler\..*",
    r"(bert\.)?embeddings\.position_ids",
    r"cls\..*",
    r"classifier\..*",
    r"qa_outputs\..*",
)


def read_bert(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a BERT checkpoint, without pooler and task heads."""
    layers, heads, hidden, inner, positions, vocabulary = settings.sizes(
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "vocab_size",
    )
    kind = settings.config.get("position_embedding_type") or "absolute"
    if kind != "absolute" or settings.flag("is_decoder", default=False):
        raise unsupported(f"{settings.path}: only BERT encoders with absolute positions are supported")
    head_size = hidden // heads
    encoder = Stack(
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_size=head_size,
        inner=inner,
        vocabulary=vocabulary,
        norm_epsilon=settings.number("layer_norm_eps", 1e-12),
        activation=settings.activation("hidden_act", "gelu"),
        position_rows=positions,
        embedding_norm=True,
        token_types=settings.size("type_vocab_size", 2),
        attention_scale=standard_scale(head_size),
    )
    prefix = prefix_of(stored, "bert.")
    embeddings = f"{prefix}embeddings"
    table: Table = {
        "encoder.embedding.tokens": ArraySource((f"{embeddings}.word_embeddings.weight",)),
        "encoder.embedding.positions": ArraySource((f"{embeddings}.position_embeddings.weight",)),
        "encoder.embedding.types": ArraySource((f"{embeddings}.token_type_embeddings.weight",)),
        **norm("encoder.embedding.norm", f"{embeddings}.LayerNorm"),
    }
    for layer in range(layers):
        table |= encoder_layer(
            f"encoder.layers.{layer}",
            f"{prefix}encoder.layer.{layer}",
            attention="attention.self",
            norms=("attention.output.LayerNorm", "output.LayerNorm"),
        )
    return CheckpointMapping(Transformer(encoder=encoder), table, _IGNORABLE)
