"""GPT in config.ini or in the parameters of the first interface, read into a specification and written from one."""

from __future__ import annotations

from typing import Final

from slipway.checkpoints.fastertransformer.config_ini import Ini, Section
from slipway.checkpoints.fastertransformer.description import (
    MOST_LAYERS,
    MOST_WAYS,
    NORM_EPSILON,
    Description,
    activation,
    activation_name,
    prompt_sections,
    prompts,
    refused,
)
from slipway.checkpoints.fastertransformer.layout import GPT
from slipway.errors import invalid
from slipway.transformer.spec import Positions, Stack, Transformer, standard_scale

INERT: Final = frozenset(["model_name", "weight_data_type", "start_id", "end_id"])
# The settings that a variant's name stands for; explicit keys override them. OPT differs from GPT in its activation.
_VARIANTS: Final = {
    "gpt": ("gelu", "pre_layernorm"),
    "opt-pre": ("relu", "pre_layernorm"),
    "opt-post": ("relu", "post_layernorm"),
}
# Keys of config.ini, and of the first interface's parameters if they differ: that interface kept the dimensions there.
DIMENSIONS: Final = ("head_num", "size_per_head", "inter_size", "vocab_size", "num_layer", "decoder_layers")


def describe(ini: Ini, *, own_head: bool, position_rows: int) -> Description:
    """Return the GPT that config.ini describes.

    `own_head` says whether the files contain a separate head; `position_rows` is the number of rows in the file of
    positions, which the first interface does not specify.
    """
    section = ini.section("gpt")
    if not section.values:
        raise invalid(f"'{ini.source}' has no section [gpt], only {ini.names}: is model_type GPT right?")
    _refuse(ini, section)
    decoder = _stack(section, position_rows)
    end_id = section.integer("end_id", low=0)
    tables, prompt_start = prompts(ini, section, start=end_id + 1)
    spec = Transformer(
        decoder=decoder,
        tied_head=not own_head,
        start_id=section.integer("start_id", low=0),
        end_id=end_id,
        prompts=tables,
        prompt_start_id=prompt_start,
    )
    types = section.data_type()
    ways = section.integer("tensor_para_size", default=0, high=MOST_WAYS)
    return Description(spec, GPT, encoder_type=types, decoder_type=types, ways=ways)


def sections(spec: Transformer, *, data_type: str, ways: int) -> dict[str, dict[str, object]]:
    """Return the sections of config.ini from which `describe` reads this model."""
    stack = spec.decoder
    if stack is None:
        raise invalid("FasterTransformer's GPT needs a decoder, which this model lacks")
    keys, tasks = prompt_sections(spec)
    figures: dict[str, object] = {
        "model_name": "gpt",
        "head_num": stack.heads,
        "size_per_head": stack.head_size,
        "inter_size": stack.inner,
        "max_pos_seq_len": stack.position_rows,
        "num_layer": stack.layers,
        "vocab_size": stack.vocabulary,
        "start_id": spec.start_id,
        "end_id": spec.end_id,
        "layernorm_eps": stack.norm_epsilon,
        "layernorm_type": "pre_layernorm" if stack.pre_norm else "post_layernorm",
        "activation_type": activation_name(stack.activation, gated=stack.gated),
        "has_pre_decoder_layernorm": stack.embedding_norm,
        "has_post_decoder_layernorm": stack.final_norm,
        "weight_data_type": data_type,
        "tensor_para_size": ways,
    }
    return {"gpt": figures | keys} | tasks


def _refuse(ini: Ini, section: Section) -> None:
    variant = section.text("model_variant")
    if variant.startswith("bloom") or section.boolean("use_attention_linear_bias", default=False):
        raise refused(ini.source, "attention biases that grow linearly with distance (ALiBi, BLOOM)")
    if section.boolean("has_adapters", default=False) or section.integer("adapter_inter_size", default=0, low=0):
        raise refused(ini.source, "adapters (has_adapters, adapter_inter_size)")
    if section.integer("expert_num", "num_experts", default=0, low=0):
        raise refused(ini.source, "GPT with a mixture of experts (expert_num)")


def _stack(section: Section, position_rows: int) -> Stack:
    variant = section.text("model_variant", default="gpt")
    if variant not in _VARIANTS:
        section.problem(f"model_variant is '{variant}', expected one of {', '.join(_VARIANTS)}")
    default, norms = _VARIANTS.get(variant, _VARIANTS["gpt"])
    kind, gated = activation(section, "activation_type", default)
    if gated:
        section.problem("activation_type is gated, but GPT's files contain only one factor")
    placed = section.text("layernorm_type", default=norms)
    if placed not in ("pre_layernorm", "post_layernorm"):
        section.problem(f"layernorm_type is '{placed}', expected pre_layernorm or post_layernorm")
    pre = placed == "pre_layernorm"
    heads, size = section.integer("head_num", high=MOST_LAYERS), section.integer("size_per_head")
    has_table = section.boolean("has_positional_encoding", default=True)
    return Stack(
        layers=section.integer("num_layer", "decoder_layers", high=MOST_LAYERS),
        hidden=heads * size,
        heads=heads,
        head_size=size,
        inner=section.integer("inter_size"),
        vocabulary=section.integer("vocab_size"),
        norm_epsilon=section.number("layernorm_eps", default=NORM_EPSILON),
        pre_norm=pre,
        activation=kind,
        positions=Positions.TABLE if has_table else Positions.NONE,
        position_rows=section.integer("max_pos_seq_len", default=max(position_rows, 1)) if has_table else 0,
        embedding_norm=section.boolean("has_pre_decoder_layernorm", default=False),
        final_norm=section.boolean("has_post_decoder_layernorm", default=pre),
        attention_scale=standard_scale(size),
    )
