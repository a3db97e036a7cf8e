"""BART and its relatives mBART, Marian, Pegasus, Blenderbot, M2M100 (and NLLB): one layout of names, and a table of
differences. Also the decoders of this family, with TrOCR's, that another model's encoder reads images for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Final

import numpy as np

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    AS_IS,
    FLAT,
    ArraySource,
    ArrayTransform,
    CheckpointMapping,
    StoredArrays,
    Table,
    linear,
    norm,
    own_head,
    prefix_of,
    without_rows,
)
from slipway.checkpoints.sinusoidal_positions import fairseq_positions, marian_positions
from slipway.transformer.spec import Stack, Transformer, standard_scale

# `version` is a leftover of fairseq; the others are computed.
_IGNORABLE = (
    r"(model\.)?(encoder|decoder)\.version",
    r"(model\.)?(encoder|decoder)\.embed_positions\.(weights|_float_tensor)",
)


_DECODER_HEADS = ("decoder.lm_head.weight", "decoder.output_projection.weight")


@dataclass(frozen=True, slots=True)
class _Kind:
    """The differences of one family. `positions` makes a sinusoidal table from rows, width and padding id."""

    pre_norm: bool = False
    embedding_norm: bool = False
    final_norm: bool = False
    activation: str = "gelu"
    scaled: bool = False  # the default of `scale_embedding`
    position_change: ArrayTransform = AS_IS
    positions: Callable[[int, int, int], np.ndarray] | None = None


_KINDS: Final = {
    # Two rows before position 0 are for padding, as fairseq counted.
    "bart": _Kind(embedding_norm=True, position_change=without_rows(2)),
    "blenderbot": _Kind(pre_norm=True, final_norm=True),
    "mbart": _Kind(pre_norm=True, embedding_norm=True, final_norm=True, position_change=without_rows(2)),
    "marian": _Kind(positions=lambda rows, hidden, _: marian_positions(rows, hidden)),
    "pegasus": _Kind(pre_norm=True, final_norm=True, positions=lambda rows, hidden, _: marian_positions(rows, hidden)),
    "m2m_100": _Kind(
        pre_norm=True,
        final_norm=True,
        activation="relu",
        scaled=True,
        positions=lambda rows, hidden, padding: fairseq_positions(rows, hidden, padding + 1),
    ),
}


def read_bart(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a checkpoint of this family."""
    kind = _KINDS[settings.model_type]
    prefix = prefix_of(stored, "model.")
    shared = settings.flag("share_encoder_decoder_embeddings", default=True)
    tables = {name: f"{prefix}{name}.embed_tokens.weight" for name in ("encoder", "decoder")}
    tokens = (f"{prefix}shared.weight", *tables.values()) if shared else (tables["decoder"],)
    own = own_head(stored, "lm_head.weight", tokens)
    tokens = tokens if own else (*tokens, "lm_head.weight")
    spec = Transformer(
        encoder=_stack(settings, kind, "encoder", settings.sizes("vocab_size")[0]),
        decoder=_stack(settings, kind, "decoder", settings.size("decoder_vocab_size", settings.sizes("vocab_size")[0])),
        shared_embedding=shared,
        tied_head=not own,
        head_bias=_has_bias(stored),
        start_id=settings.token_id("decoder_start_token_id", "bos_token_id", default=2),
        end_id=settings.token_id("eos_token_id", default=2),
    )
    own_table: Table = {} if shared else {"encoder.embedding.tokens": ArraySource((tables["encoder"],))}
    table: Table = {
        f"{'encoder' if shared else 'decoder'}.embedding.tokens": ArraySource(tokens),
        **own_table,
        "head.weight": ArraySource(("lm_head.weight",)),
        "head.bias": ArraySource(("final_logits_bias",), FLAT),
    }
    padding = settings.token_id("pad_token_id", default=1)
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is not None:
            table |= _stack_table(name, f"{prefix}{name}", stack, kind, padding)
    kept = next((name for name in tokens if name in stored), tokens[0])
    ignorable = _IGNORABLE if spec.head_bias else (*_IGNORABLE, "final_logits_bias")
    return CheckpointMapping(spec, table, ignorable, duplicates={name: kept for name in tokens if name != kept})


def read_bart_decoder(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of the decoder of a checkpoint with these decoder settings: its arrays' names
    begin with "decoder."."""
    kind = _trocr(settings) if settings.model_type == "trocr" else _KINDS[settings.model_type]
    prefix = "decoder.model.decoder"
    tokens = f"{prefix}.embed_tokens.weight"
    head = next((name for name in _DECODER_HEADS if name in stored), _DECODER_HEADS[0])
    own = own_head(stored, head, (tokens,))
    stack = _stack(settings, kind, "decoder", settings.sizes("vocab_size")[0])
    spec = Transformer(
        decoder=stack,
        encoded_size=settings.size("cross_attention_hidden_size", stack.hidden),
        tied_head=not own,
        start_id=settings.token_id("decoder_start_token_id", "bos_token_id", default=2),
        end_id=settings.token_id("eos_token_id", default=2),
    )
    table: Table = {
        "decoder.embedding.tokens": ArraySource((tokens,) if own else (tokens, head)),
        "head.weight": ArraySource((head,)),
        **_stack_table("decoder", prefix, stack, kind, settings.token_id("pad_token_id", default=1)),
    }
    return CheckpointMapping(spec, table, tuple(f"decoder\\.{pattern}" for pattern in _IGNORABLE))


def _trocr(settings: HuggingFaceSettings) -> _Kind:
    """Return TrOCR's differences, two of which are settings."""
    learned = settings.flag("use_learned_position_embeddings", default=True)
    return _Kind(
        embedding_norm=settings.flag("layernorm_embedding", default=True),
        position_change=without_rows(2) if learned else AS_IS,
        positions=None if learned else lambda rows, hidden, padding: fairseq_positions(rows, hidden, padding + 1),
    )


def _has_bias(stored: StoredArrays) -> bool:
    """Return whether the head has a real bias: in all but Marian's checkpoints it is a buffer of zeros."""
    return "final_logits_bias" in stored and bool(np.any(stored["final_logits_bias"].read()))


def _stack(settings: HuggingFaceSettings, kind: _Kind, name: str, vocabulary: int) -> Stack:
    layers, heads, inner = settings.sizes(f"{name}_layers", f"{name}_attention_heads", f"{name}_ffn_dim")
    hidden, positions = settings.sizes("d_model", "max_position_embeddings")
    return Stack(
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_size=hidden // heads,
        inner=inner,
        vocabulary=vocabulary,
        pre_norm=kind.pre_norm,
        activation=settings.activation("activation_function", kind.activation),
        position_rows=positions,
        embedding_scale=sqrt(hidden) if settings.flag("scale_embedding", default=kind.scaled) else 1.0,
        embedding_norm=kind.embedding_norm,
        final_norm=kind.final_norm,
        attention_scale=standard_scale(hidden // heads),
    )


def _stack_table(canonical: str, stored: str, stack: Stack, kind: _Kind, padding: int) -> Table:
    made = partial(kind.positions, stack.position_rows, stack.hidden, padding) if kind.positions else None
    positions = ArraySource((f"{stored}.embed_positions.weight",), kind.position_change, made)
    table: Table = {f"{canonical}.embedding.positions": positions}
    table |= norm(f"{canonical}.embedding.norm", f"{stored}.layernorm_embedding")
    table |= norm(f"{canonical}.final_norm", f"{stored}.layer_norm")
    for layer in range(stack.layers):
        table |= _layer(f"{canonical}.layers.{layer}", f"{stored}.layers.{layer}", cross=canonical == "decoder")
    return table


def _layer(canonical: str, stored: str, *, cross: bool) -> Table:
    table: Table = {}
    for block, name in (("self_attention", "self_attn"), *([("cross_attention", "encoder_attn")] if cross else [])):
        table |= norm(f"{canonical}.{block}.norm", f"{stored}.{name}_layer_norm")
        table |= linear(f"{canonical}.{block}.output", f"{stored}.{name}.out_proj")
        for part in ("query", "key", "value"):
            table |= linear(f"{canonical}.{block}.{part}", f"{stored}.{name}.{part[0]}_proj")
    table |= norm(f"{canonical}.feed_forward.norm", f"{stored}.final_layer_norm")
    table |= linear(f"{canonical}.feed_forward.up", f"{stored}.fc1")
    return table | linear(f"{canonical}.feed_forward.down", f"{stored}.fc2")
