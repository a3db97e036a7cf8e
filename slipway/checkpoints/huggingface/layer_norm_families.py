"""Families with layer norms, most of them older than Llama: rotary positions, ALiBi or a table, parallel blocks."""

from __future__ import annotations

from typing import Any, Final

from slipway.checkpoints.huggingface.decoder_family import DecoderFamily, Fields, Fused, SettingNames, WindowRule
from slipway.checkpoints.huggingface.falcon import falcon_fields
from slipway.checkpoints.huggingface.fused_arrays import each_head
from slipway.checkpoints.huggingface.llama_families import LLAMA_PARTS, QKV
from slipway.checkpoints.huggingface.rotary_settings import RotaryRule
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import without_rows
from slipway.checkpoints.huggingface.windows import every_layer
from slipway.transformer.spec import Norm, Positions

_LAYER_NORM_NETWORK: Final[dict[str, Any]] = {"norm": Norm.LAYER, "pre_norm": True, "final_norm": True}
_PHI: Final = DecoderFamily(
    title="Phi-1, Phi-1.5, Phi-2",
    parts={
        "embedding.tokens": "embed_tokens",
        "final_norm": "final_layernorm",
        "self_attention.norm": "input_layernorm",
        **{f"self_attention.{part}": f"self_attn.{part[0]}_proj" for part in QKV},
        "self_attention.output": "self_attn.dense",
        "feed_forward.up": "mlp.fc1",
        "feed_forward.down": "mlp.fc2",
    },
    network=_LAYER_NORM_NETWORK | {"parallel": True, "shared_norm": True},
    names=SettingNames(norm_epsilon=("layer_norm_eps",)),
    activation="gelu_new",
    head_bias=True,
    rotary=RotaryRule(share=("partial_rotary_factor", 0.5)),
    defaults={"tie_word_embeddings": False, "eos_token_id": 2, "bos_token_id": 1},
)
_GPT_NEOX: Final = DecoderFamily(
    title="GPT-NeoX, Pythia",
    parts={
        "embedding.tokens": "embed_in",
        "final_norm": "final_layer_norm",
        "self_attention.norm": "input_layernorm",
        **{f"self_attention.{part}": Fused(each_head(part), ("attention.query_key_value",)) for part in QKV},
        "self_attention.output": "attention.dense",
        "feed_forward.norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.dense_h_to_4h",
        "feed_forward.down": "mlp.dense_4h_to_h",
    },
    network=_LAYER_NORM_NETWORK,
    names=SettingNames(norm_epsilon=("layer_norm_eps",), key_value_heads=(), head_size=()),
    roots=("gpt_neox.",),
    head=("embed_out", "lm_head"),
    activation="gelu",
    flags={"attention_bias": ("attention_bias", True), "parallel": ("use_parallel_residual", True)},
    rotary=RotaryRule(base=("rotary_emb_base", 10_000.0), share=("rotary_pct", 0.25)),
    defaults={"tie_word_embeddings": False, "eos_token_id": 2, "bos_token_id": 0},
)
_GPTJ: Final = DecoderFamily(
    title="GPT-J",
    parts={
        "embedding.tokens": "wte",
        "final_norm": "ln_f",
        "self_attention.norm": "ln_1",
        **{f"self_attention.{part}": f"attn.{part[0]}_proj" for part in QKV},
        "self_attention.output": "attn.out_proj",
        "feed_forward.up": "mlp.fc_in",
        "feed_forward.down": "mlp.fc_out",
    },
    network=_LAYER_NORM_NETWORK | {"parallel": True, "shared_norm": True, "attention_bias": False},
    names=SettingNames(
        layers=("n_layer", "num_hidden_layers"),
        heads=("n_head", "num_attention_heads"),
        hidden=("n_embd", "hidden_size"),
        inner=("n_inner",),
        context=("n_positions", "max_position_embeddings"),
        norm_epsilon=("layer_norm_epsilon",),
        activation=("activation_function",),
        key_value_heads=(),
        head_size=(),
    ),
    roots=("transformer.",),
    layers="h",
    activation="gelu_new",
    head_bias=True,
    rotary=RotaryRule(size="rotary_dim", interleaved=True),
    defaults={"rotary_dim": 64, "tie_word_embeddings": False, "eos_token_id": 50_256, "bos_token_id": 50_256},
)


def _opt_fields(settings: HuggingFaceSettings, fields: Fields) -> Fields:
    """Return what OPT-350m does differently: norms after each block, and a narrower token table."""
    before = settings.flag("do_layer_norm_before", default=True)
    bare = settings.flag("_remove_final_layer_norm", default=False)
    width = settings.size("word_embed_proj_dim", fields["hidden"])
    return {
        "pre_norm": before,
        "final_norm": before and not bare,
        "embedding_size": 0 if width == fields["hidden"] else width,
    }


_OPT: Final = DecoderFamily(
    title="OPT",
    parts={
        "embedding.tokens": "embed_tokens",
        "embedding.positions": "embed_positions",
        "embedding.project": "project_in",
        "head.project": "project_out",
        "final_norm": "final_layer_norm",
        "self_attention.norm": "self_attn_layer_norm",
        **{f"self_attention.{part}": f"self_attn.{part[0]}_proj" for part in QKV},
        "self_attention.output": "self_attn.out_proj",
        "feed_forward.norm": "final_layer_norm",
        "feed_forward.up": "fc1",
        "feed_forward.down": "fc2",
    },
    changes={"embedding.positions": without_rows(2)},  # as in BART, two rows come before position 0
    network={"norm": Norm.LAYER, "positions": Positions.TABLE},
    names=SettingNames(
        inner=("ffn_dim",), norm_epsilon=(), activation=("activation_function",), key_value_heads=(), head_size=()
    ),
    roots=("model.decoder.", "decoder."),
    activation="relu",
    flags={"attention_bias": ("enable_bias", True), "feed_forward_bias": ("enable_bias", True)},
    rotary=None,
    special=_opt_fields,
    also=("norms after each block and a narrower token table (350M)",),
    defaults={"eos_token_id": 2, "bos_token_id": 2},
)
_BLOOM: Final = DecoderFamily(
    title="BLOOM, BLOOMZ",
    parts={
        "embedding.tokens": "word_embeddings",
        "embedding.norm": "word_embeddings_layernorm",
        "final_norm": "ln_f",
        "self_attention.norm": "input_layernorm",
        **{f"self_attention.{part}": Fused(each_head(part), ("self_attention.query_key_value",)) for part in QKV},
        "self_attention.output": "self_attention.dense",
        "feed_forward.norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.dense_h_to_4h",
        "feed_forward.down": "mlp.dense_4h_to_h",
    },
    network=_LAYER_NORM_NETWORK | {"positions": Positions.ALIBI, "embedding_norm": True},
    names=SettingNames(
        layers=("n_layer", "num_hidden_layers"),
        heads=("n_head", "num_attention_heads"),
        hidden=("n_embed", "hidden_size"),
        inner=(),
        context=("seq_length",),
        norm_epsilon=("layer_norm_epsilon",),
        activation=(),
        key_value_heads=(),
        head_size=(),
    ),
    roots=("transformer.",),
    layers="h",
    activation="gelu_new",
    rotary=None,
    defaults={"eos_token_id": 2, "bos_token_id": 1},
)
_FALCON: Final = DecoderFamily(
    title="Falcon (7B, 40B, 180B, RW)",
    parts={
        "embedding.tokens": "word_embeddings",
        "final_norm": "ln_f",
        "self_attention.norm": ("input_layernorm", "ln_attn"),
        **{f"self_attention.{part}": Fused(each_head(part), ("self_attention.query_key_value",)) for part in QKV},
        "self_attention.output": "self_attention.dense",
        "feed_forward.norm": ("post_attention_layernorm", "ln_mlp"),
        "feed_forward.up": "mlp.dense_h_to_4h",
        "feed_forward.down": "mlp.dense_4h_to_h",
    },
    network=_LAYER_NORM_NETWORK,
    names=SettingNames(
        hidden=("n_embed", "hidden_size"),
        inner=("ffn_hidden_size",),
        norm_epsilon=("layer_norm_epsilon",),
        activation=("activation",),
        key_value_heads=(),
        head_size=(),
    ),
    roots=("transformer.",),
    layers="h",
    activation="gelu",
    flags={"attention_bias": ("bias", False), "feed_forward_bias": ("bias", False)},
    special=falcon_fields,
    also=("parallel blocks", "one head of keys and values (7B)", "grouped heads (40B)", "ALiBi (RW)"),
    defaults={"max_position_embeddings": 2048, "eos_token_id": 11, "bos_token_id": 11},
)
_STARCODER2: Final = DecoderFamily(
    title="StarCoder2",
    parts={name: part for name, part in LLAMA_PARTS.items() if not name.startswith("feed_forward.")}
    | {
        "feed_forward.norm": "post_attention_layernorm",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    },
    network=_LAYER_NORM_NETWORK,
    names=SettingNames(norm_epsilon=("norm_epsilon",)),
    activation="gelu_pytorch_tanh",
    flags={"attention_bias": ("use_bias", True), "feed_forward_bias": ("use_bias", True)},
    windows=WindowRule(every_layer, ignores_types=True),
    defaults={"num_key_value_heads": 2, "eos_token_id": 50_256, "bos_token_id": 50_256},
)

LAYER_NORM_FAMILIES: Final[dict[str, DecoderFamily]] = {
    "bloom": _BLOOM,
    "falcon": _FALCON,
    "gpt_neox": _GPT_NEOX,
    "gptj": _GPTJ,
    "opt": _OPT,
    "phi": _PHI,
    "starcoder2": _STARCODER2,
}
