"""Families with expert layers: the rows of dense families, and how experts are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from slipway.checkpoints.huggingface.decoder_family import (
    DecoderFamily,
    ExpertArrays,
    ExpertRule,
    PartNames,
    WindowRule,
)
from slipway.checkpoints.huggingface.fused_arrays import half
from slipway.checkpoints.huggingface.llama_families import LLAMA_NETWORK, LLAMA_PARTS, MISTRAL, QWEN2, QWEN3
from slipway.checkpoints.huggingface.rotary_settings import RotaryRule
from slipway.checkpoints.huggingface.windows import even_lower_layers, every_layer


def _each_expert(*names: str) -> dict[str, ExpertArrays]:
    """Return the arrays of experts whose products are called by one of `names` for each expert: gate, up, down."""
    gate, up, down = (tuple(name.split("|")) for name in names)
    both = "mlp.experts.gate_up_proj"  # as transformers 5 has them in memory, and may save them
    return {
        "up": ExpertArrays(both, gate, half(0)),
        "gated": ExpertArrays(both, up, half(1)),
        "down": ExpertArrays("mlp.experts.down_proj", down),
    }


_QWEN_EXPERTS: Final = ExpertRule(
    count=("num_experts", "num_local_experts"),
    arrays=_each_expert(*(f"mlp.experts.{{}}.{part}_proj.weight" for part in ("gate", "up", "down"))),
    inner="moe_intermediate_size",
    sparse=True,
    normalised="norm_topk_prob",
)
_MIXTRAL: Final = replace(
    MISTRAL,
    title="Mixtral",
    parts=LLAMA_PARTS | {"feed_forward.router": ("block_sparse_moe.gate", "mlp.gate")},
    rotary=RotaryRule(base=("rope_theta", 1_000_000.0)),
    experts=ExpertRule(
        count=("num_local_experts", "num_experts"),
        arrays=_each_expert(
            *(
                f"block_sparse_moe.experts.{{}}.{part}.weight|mlp.experts.{{}}.{part}.weight"
                for part in ("w1", "w3", "w2")
            )
        ),
    ),
    defaults=MISTRAL.defaults | {"rms_norm_eps": 1e-5, "num_local_experts": 8, "num_experts_per_tok": 2},
)
_SHARED_EXPERT: Final[PartNames] = {
    "feed_forward.router": "mlp.gate",
    **{
        f"feed_forward.shared.{part}": f"mlp.shared_expert.{name}_proj"
        for part, name in (("up", "gate"), ("gated", "up"), ("down", "down"))
    },
    "feed_forward.shared.gate": "mlp.shared_expert_gate",
}
_QWEN2_MOE: Final = replace(
    QWEN2,
    title="Qwen1.5-MoE, Qwen2-MoE",
    parts=LLAMA_PARTS | _SHARED_EXPERT,
    network=LLAMA_NETWORK | {"output_bias": False},
    flags={"attention_bias": ("qkv_bias", True)},
    windows=WindowRule(even_lower_layers, flag="use_sliding_window"),
    experts=replace(_QWEN_EXPERTS, shared_inner="shared_expert_intermediate_size"),
    defaults=QWEN2.defaults | {"num_experts": 60, "num_experts_per_tok": 4},
)
_QWEN3_MOE: Final = replace(
    QWEN3,
    title="Qwen3-MoE",
    parts=QWEN3.parts | {"feed_forward.router": "mlp.gate"},
    windows=WindowRule(every_layer, flag="use_sliding_window"),
    experts=_QWEN_EXPERTS,
    defaults=QWEN2.defaults | {"num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8},
)

EXPERT_FAMILIES: Final[dict[str, DecoderFamily]] = {
    "mixtral": _MIXTRAL,
    "qwen2_moe": _QWEN2_MOE,
    "qwen3_moe": _QWEN3_MOE,
}
