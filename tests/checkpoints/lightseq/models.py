"""Random models of every LightSeq type, as canonical checkpoints."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod, sqrt

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.lightseq.conf import LightSeqConf
from slipway.transformer.spec import (
    Activation,
    Experts,
    Gate,
    Languages,
    Norm,
    Positions,
    Stack,
    Transformer,
    Vision,
    standard_scale,
)
from slipway.transformer.weights import Array, Weights, expected_shapes

HIDDEN, HEADS, INNER, ROWS = 8, 2, 12, 6
TYPES = (
    "Transformer",
    "QuantTransformer",
    "Bert",
    "QuantBert",
    "Gpt",
    "QuantGpt",
    "Moe",
    "T5",
    "MT5",
    "Vit",
    "QuantVit",
)


def stack(vocabulary: int, layers: int, *, post: bool, **more) -> Stack:
    common = {
        "layers": layers,
        "hidden": HIDDEN,
        "heads": HEADS,
        "head_size": HIDDEN // HEADS,
        "inner": INNER,
        "vocabulary": vocabulary,
        "norm_epsilon": 1e-12,
        "pre_norm": not post,
        "embedding_norm": post,
        "final_norm": not post,
        "activation": Activation.GELU_TANH,
        "position_rows": ROWS,
        "attention_scale": standard_scale(HIDDEN // HEADS),
    }
    return Stack(**(common | more))


def t5_stack(layers: int, *, gated: bool) -> Stack:
    return stack(
        10,
        layers,
        post=False,
        norm=Norm.RMS,
        norm_epsilon=1e-6,
        activation=Activation.GELU_TANH if gated else Activation.RELU,
        gated=gated,
        attention_bias=False,
        feed_forward_bias=False,
        positions=Positions.RELATIVE,
        position_rows=0,
        relative_buckets=32,
        attention_scale=1.0,
    )


def spec_of(model_type: str, *, post: bool = False) -> Transformer:
    """Return a small architecture that a file of `model_type` describes exactly."""
    base = model_type.removeprefix("Quant")
    if base == "Bert":
        return Transformer(encoder=stack(10, 2, post=True, padding_id=1))
    if base == "Vit":
        vision = Vision(8, 4)
        return Transformer(encoder=stack(0, 2, post=False, vision=vision, position_rows=vision.tokens))
    if base == "Gpt":
        return Transformer(decoder=stack(10, 2, post=False, padding_id=1), start_id=9, end_id=9)
    if base in ("T5", "MT5"):
        encoder = replace(t5_stack(2, gated=base == "MT5"), padding_id=1)
        tied = base == "T5"
        return Transformer(
            encoder=encoder,
            decoder=replace(encoder, layers=3, padding_id=None),
            shared_embedding=True,
            tied_head=tied,
            logit_scale=HIDDEN**-0.5 if tied else 1.0,
            start_id=2,
            end_id=3,
        )
    scale = sqrt(HIDDEN) if model_type.startswith("Quant") else 1.0
    soft = base == "Moe"
    return Transformer(
        encoder=stack(
            11,
            2,
            post=post,
            padding_id=1,
            embedding_scale=scale,
            experts=Experts(3, 2, Gate.SOFT, (1,)) if soft else None,
        ),
        decoder=stack(
            10, 3, post=post, embedding_scale=scale, experts=Experts(2, 1, Gate.SOFT, (0, 2)) if soft else None
        ),
        head_bias=True,
        logit_scale=1.0 if model_type.startswith("Quant") else 1 / sqrt(HIDDEN),
        start_id=2,
        end_id=3,
    )


def with_languages(spec: Transformer, mode: Languages) -> Transformer:
    return replace(
        spec,
        encoder=replace(spec.encoder, languages=4),
        decoder=replace(spec.decoder, languages=4),
        language_mode=mode,
    )


def checkpoint(spec: Transformer, seed: int = 0) -> Checkpoint:
    """Return random numbers for `spec`."""
    generator = np.random.default_rng(seed)
    arrays = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in expected_shapes(spec).items()
    }
    return Checkpoint("random", spec, weights_of(arrays))


def weights_of(arrays: dict[str, np.ndarray]) -> Weights:
    return Weights({name: Array(array.shape, partial(np.asarray, array)) for name, array in arrays.items()})


def conf_of(model_type: str, **more) -> LightSeqConf:
    """Return the settings of such a model."""
    base = model_type.removeprefix("Quant")
    if base in ("Bert", "Vit"):
        return LightSeqConf(
            model_type, ROWS if base == "Bert" else 5, padding_id=1 if base == "Bert" else 0, topk=1, topp=0.75, **more
        )
    if base == "Gpt":
        settings = {"sampling_method": "topk", "topk": 2, "extra_decode_length": 3, "padding_id": 1, "end_id": 9}
        return LightSeqConf(model_type, ROWS, **(settings | more))
    settings = {
        "beam_size": 4,
        "sampling_method": "beam_search",
        "topk": 2,
        "topp": 0.5,
        "length_penalty": 0.25,
        "diverse_lambda": 0.125,
        "extra_decode_length": 5,
        "padding_id": 1,
        "start_id": 2,
        "end_id": 3,
    }
    return LightSeqConf(model_type, ROWS, **(settings | more))


def numbers(spec: Transformer) -> int:
    return sum(prod(shape) for shape in expected_shapes(spec).values())
