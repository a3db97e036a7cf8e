"""GPT-2: norms before each block, fused query-key-value, [in, out] weights (Conv1D). Decoder-only, or with
cross-attention as the decoder of another model."""

from __future__ import annotations

from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import (
    TRANSPOSED,
    ArraySource,
    CheckpointMapping,
    StoredArrays,
    Table,
    fused,
    norm,
    own_head,
    prefix_of,
)
from slipway.errors import unsupported
from slipway.transformer.spec import Stack, Transformer, standard_scale

# Causal masks that old versions saved with each layer.
_IGNORABLE = (r"(.*\.)?h\.\d+\.(attn|crossattention)\.(bias|masked_bias)",)


def read_gpt2(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a GPT-2 checkpoint."""
    if settings.flag("add_cross_attention", default=False):
        raise unsupported(f"{settings.path}: 'add_cross_attention' is true, but the checkpoint has no encoder")
    return _read(settings, stored, "", cross=False)


def read_gpt2_decoder(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of a GPT-2 that is the decoder of a checkpoint with these decoder settings."""
    return _read(settings, stored, "decoder.", cross=True)


def _read(settings: HuggingFaceSettings, stored: StoredArrays, outer: str, *, cross: bool) -> CheckpointMapping:
    """Read a GPT-2 whose arrays' names begin with `outer`."""
    layers, heads, hidden, positions, vocabulary = settings.sizes(
        "n_layer", "n_head", "n_embd", "n_positions", "vocab_size"
    )
    if settings.flag("scale_attn_by_inverse_layer_idx", default=False):
        raise unsupported(
            f"{settings.path}: 'scale_attn_by_inverse_layer_idx' is true, but only GPT-2 without it is supported"
        )
    head_size = hidden // heads
    prefix = prefix_of(stored, f"{outer}transformer.")
    tokens, head = f"{prefix}wte.weight", f"{outer}lm_head.weight"
    own = own_head(stored, head, (tokens,))
    end = settings.token_id("eos_token_id", default=vocabulary - 1)
    decoder = Stack(
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_size=head_size,
        inner=settings.size("n_inner", 4 * hidden),
        vocabulary=vocabulary,
        norm_epsilon=settings.number("layer_norm_epsilon", 1e-5),
        pre_norm=True,
        activation=settings.activation("activation_function", "gelu_new"),
        position_rows=positions,
        final_norm=True,
        attention_scale=standard_scale(head_size) if settings.flag("scale_attn_weights", default=True) else 1.0,
    )
    start = settings.token_id(*(["decoder_start_token_id"] if cross else []), "bos_token_id", default=end)
    spec = Transformer(
        decoder=decoder, encoded_size=hidden if cross else 0, tied_head=not own, start_id=start, end_id=end
    )
    table: Table = {
        "decoder.embedding.tokens": ArraySource((tokens,) if own else (tokens, head)),
        "decoder.embedding.positions": ArraySource((f"{prefix}wpe.weight",)),
        "head.weight": ArraySource((head,)),
        **norm("decoder.final_norm", f"{prefix}ln_f"),
    }
    for layer in range(layers):
        table |= _layer(f"decoder.layers.{layer}", f"{prefix}h.{layer}")
        if cross:
            table |= _cross_attention(f"decoder.layers.{layer}.cross_attention", f"{prefix}h.{layer}")
    return CheckpointMapping(spec, table, _IGNORABLE)


def _cross_attention(canonical: str, stored: str) -> Table:
    table = norm(f"{canonical}.norm", f"{stored}.ln_cross_attn")
    table |= _conv1d(f"{canonical}.query", f"{stored}.crossattention.q_attn")
    for index, part in enumerate(("key", "value")):
        for each in ("weight", "bias"):
            name = f"{stored}.crossattention.c_attn.{each}"
            table[f"{canonical}.{part}.{each}"] = ArraySource((name,), fused(index, 2))
    return table | _conv1d(f"{canonical}.output", f"{stored}.crossattention.c_proj")


def _layer(canonical: str, stored: str) -> Table:
    table = norm(f"{canonical}.self_attention.norm", f"{stored}.ln_1")
    table |= norm(f"{canonical}.feed_forward.norm", f"{stored}.ln_2")
    for index, part in enumerate(("query", "key", "value")):
        for each in ("weight", "bias"):
            table[f"{canonical}.self_attention.{part}.{each}"] = ArraySource(
                (f"{stored}.attn.c_attn.{each}",), fused(index, 3)
            )
    table |= _conv1d(f"{canonical}.self_attention.output", f"{stored}.attn.c_proj")
    table |= _conv1d(f"{canonical}.feed_forward.up", f"{stored}.mlp.c_fc")
    return table | _conv1d(f"{canonical}.feed_forward.down", f"{stored}.mlp.c_proj")


def _conv1d(canonical: str, stored: str) -> Table:
    return {
        f"{canonical}.weight": ArraySource((f"{stored}.weight",), TRANSPOSED),
        f"{canonical}.bias": ArraySource((f"{stored}.bias",)),
    }
