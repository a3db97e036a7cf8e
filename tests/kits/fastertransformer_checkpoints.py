"""Canonical checkpoints with random arrays, made from a specification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.transformer.spec import Activation, Norm, Positions, Stack, Transformer, standard_scale
from slipway.transformer.weights import Array, Weights, expected_shapes

T5_STACK = Stack(
    layers=2,
    hidden=12,
    heads=4,
    head_size=2,
    inner=16,
    vocabulary=20,
    norm=Norm.RMS,
    norm_epsilon=1e-6,
    pre_norm=True,
    activation=Activation.RELU,
    attention_bias=False,
    feed_forward_bias=False,
    positions=Positions.RELATIVE,
    relative_buckets=8,
    final_norm=True,
)
T5 = Transformer(encoder=T5_STACK, decoder=T5_STACK, shared_embedding=True, logit_scale=12**-0.5)
GPT = Transformer(
    decoder=Stack(
        layers=2,
        hidden=8,
        heads=4,
        head_size=2,
        inner=32,
        vocabulary=20,
        pre_norm=True,
        activation=Activation.GELU_TANH,
        positions=Positions.TABLE,
        position_rows=16,
        final_norm=True,
        attention_scale=standard_scale(2),
    ),
    start_id=19,
    end_id=19,
)
BERT = Transformer(
    encoder=Stack(
        layers=2,
        hidden=8,
        heads=4,
        head_size=2,
        inner=32,
        vocabulary=0,
        norm_epsilon=1e-12,
        activation=Activation.GELU_TANH,
        positions=Positions.NONE,
        attention_scale=standard_scale(2),
        embedded_input=True,
    )
)


def with_stacks(spec: Transformer, **figures) -> Transformer:
    """Return `spec` with changed figures in both stacks."""
    return replace(spec, encoder=replace(spec.encoder, **figures), decoder=replace(spec.decoder, **figures))


def gated(spec: Transformer = T5) -> Transformer:
    """Return T5 v1.1: gated, with a separate head, logits not scaled."""
    own = replace(spec, tied_head=False, logit_scale=1.0)
    return with_stacks(own, gated=True, activation=Activation.GELU_TANH)


def with_bias(spec: Transformer = T5) -> Transformer:
    """Return Megatron's T5: layer norms and biases everywhere, absolute positions."""
    return with_stacks(
        replace(spec, head_bias=True, logit_scale=1.0),
        norm=Norm.LAYER,
        attention_bias=True,
        feed_forward_bias=True,
        positions=Positions.TABLE,
        relative_buckets=0,
        position_rows=24,
        attention_scale=standard_scale(2),
    )


def random_checkpoint(spec: Transformer, seed: int = 0) -> Checkpoint:
    """Return a checkpoint of random float16 values (as float32, so that fp16 files hold them exactly)."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, shape in expected_shapes(spec).items():
        values = generator.standard_normal(shape).astype(np.float16).astype(np.float32)
        if name == "decoder.embedding.positions" and spec.encoder is not None:
            arrays[name] = arrays["encoder.embedding.positions"]  # both share one file
        else:
            arrays[name] = Array(shape, lambda values=values: values)
    return Checkpoint("synthetic", spec, Weights(arrays))


def assert_same(given: Checkpoint, wanted: Checkpoint) -> None:
    """Assert that two checkpoints are the same model with the same arrays."""
    start = given.spec.prompt_start_id if not wanted.spec.prompts else wanted.spec.prompt_start_id
    assert given.spec == replace(wanted.spec, prompt_start_id=start)  # meaningless without prompts
    assert set(given.weights) == set(wanted.weights)
    for name in wanted.weights:
        np.testing.assert_array_equal(given.weights[name].astype(np.float32), wanted.weights[name], err_msg=name)
