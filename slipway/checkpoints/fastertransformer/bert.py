"""BERT in config.ini, read into a specification and written from one. Its files contain only layers, no embeddings."""

from __future__ import annotations

from typing import Final

from slipway.checkpoints.fastertransformer.config_ini import Ini
from slipway.checkpoints.fastertransformer.description import (
    MOST_LAYERS,
    MOST_WAYS,
    Description,
    activation,
    activation_name,
    refused,
)
from slipway.checkpoints.fastertransformer.layout import BERT
from slipway.errors import invalid
from slipway.transformer.spec import Positions, Stack, Transformer, standard_scale

INERT: Final = frozenset(["model_name", "max_position_embeddings", "weight_data_type"])
_EPSILON: Final = 1e-12


def describe(ini: Ini) -> Description:
    """Return the BERT that config.ini describes; its input is hidden states."""
    section = ini.section("bert")
    if not section.values:
        raise invalid(f"'{ini.source}' has no section [bert], only {ini.names}: is model_type bert right?")
    positions = section.text("position_embedding_type", default="absolute")
    if positions != "absolute":
        raise refused(ini.source, f"BERT with position_embedding_type '{positions}'")
    heads, size = section.integer("head_num", high=MOST_LAYERS), section.integer("size_per_head")
    hidden = section.integer("hidden_size", default=heads * size)
    if hidden != heads * size:
        section.problem(f"hidden_size is {hidden}, expected head_num times size_per_head, {heads * size}")
    kind, gated = activation(section, "activation_type", "gelu")
    if gated:
        section.problem("activation_type is gated, but BERT's files contain only one factor")
    encoder = Stack(
        layers=section.integer("num_layer", "num_hidden_layers", high=MOST_LAYERS),
        hidden=heads * size,
        heads=heads,
        head_size=size,
        inner=section.integer("inter_size"),
        vocabulary=0,
        norm_epsilon=section.number("layer_norm_eps", default=_EPSILON),
        activation=kind,
        positions=Positions.NONE,
        attention_scale=standard_scale(size) / section.number("q_scaling", default=1.0),
        embedded_input=True,
    )
    types = section.data_type()
    ways = section.integer("tensor_para_size", default=0, high=MOST_WAYS)
    return Description(Transformer(encoder=encoder), BERT, encoder_type=types, ways=ways)


def sections(spec: Transformer, *, data_type: str, ways: int) -> dict[str, dict[str, object]]:
    """Return the sections of config.ini from which `describe` reads this model."""
    stack = spec.encoder
    if stack is None:
        raise invalid("FasterTransformer's BERT needs an encoder, which this model lacks")
    figures: dict[str, object] = {
        "model_name": "bert",
        "position_embedding_type": "absolute",
        "hidden_size": stack.hidden,
        "num_layer": stack.layers,
        "head_num": stack.heads,
        "size_per_head": stack.head_size,
        "activation_type": activation_name(stack.activation, gated=stack.gated),
        "inter_size": stack.inner,
        "layer_norm_eps": stack.norm_epsilon,
        "weight_data_type": data_type,
        "tensor_para_size": ways,
    }
    return {"bert": figures}
