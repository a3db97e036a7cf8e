"""Rotary frequencies are those of `transformers`, for every way to extend a context."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slipway.transformer.rotary_frequencies import depends_on_length, inverse_frequencies
from slipway.transformer.spec import Rotary, RotaryScaling

SHORT, LONG = tuple(1.0 + 0.1 * index for index in range(8)), tuple(2.0 + 3.0 * index for index in range(8))
CASES = {
    "none": (Rotary(16, 5e5), {"rope_type": "default", "rope_theta": 5e5}, 0),
    "linear": (
        Rotary(16, scaling=RotaryScaling.LINEAR, factor=2.5),
        {"rope_type": "linear", "factor": 2.5},
        0,
    ),
    "dynamic-within": (
        Rotary(16, scaling=RotaryScaling.DYNAMIC, factor=4.0, original_length=64),
        {"rope_type": "dynamic", "factor": 4.0},
        40,
    ),
    "dynamic-beyond": (
        Rotary(16, scaling=RotaryScaling.DYNAMIC, factor=4.0, original_length=64),
        {"rope_type": "dynamic", "factor": 4.0},
        150,
    ),
    "yarn": (
        Rotary(16, 1e4, scaling=RotaryScaling.YARN, factor=8.0, original_length=512),
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512},
        0,
    ),
    "yarn-untruncated": (
        Rotary(16, 1.5e5, scaling=RotaryScaling.YARN, factor=32.0, original_length=4096, truncate=False),
        {
            "rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "rope_theta": 1.5e5,
            "truncate": False,
        },
        0,
    ),
    "yarn-betas": (
        Rotary(16, scaling=RotaryScaling.YARN, factor=4.0, original_length=256, beta_fast=8.0, beta_slow=2.0),
        {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "beta_fast": 8.0,
            "beta_slow": 2.0,
        },
        0,
    ),
    "yarn-narrow": (
        Rotary(16, scaling=RotaryScaling.YARN, factor=4.0, original_length=8, beta_fast=1.0, beta_slow=1.0),
        {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "beta_fast": 1.0,
            "beta_slow": 1.0,
        },
        0,
    ),
    "llama3": (
        Rotary(16, 5e5, scaling=RotaryScaling.LLAMA3, factor=8.0, original_length=1024),
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024, "rope_theta": 5e5,
        },
        0,
    ),
    "longrope-within": (
        Rotary(16, scaling=RotaryScaling.LONGROPE, original_length=64, short_factors=SHORT, long_factors=LONG),
        {
            "rope_type": "longrope", "short_factor": list(SHORT), "long_factor": list(LONG), "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        64,
    ),
    "longrope-beyond": (
        Rotary(16, scaling=RotaryScaling.LONGROPE, original_length=64, short_factors=SHORT, long_factors=LONG),
        {
            "rope_type": "longrope", "short_factor": list(SHORT), "long_factor": list(LONG), "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        65,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_frequencies_are_those_of_transformers(name):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rotary, parameters, length = CASES[name]
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, max_position_embeddings=64,
        rope_parameters={"rope_theta": 1e4, **parameters},
    )  # fmt: skip
    kind = parameters["rope_type"]
    compute = LlamaRotaryEmbedding.compute_default_rope_parameters if kind == "default" else ROPE_INIT_FUNCTIONS[kind]
    wanted, _ = compute(config, device=torch.device("cpu"), seq_len=length or None)
    np.testing.assert_allclose(inverse_frequencies(rotary, length), wanted.numpy(), rtol=2e-6)


def test_a_head_of_one_pair_turns_alike_in_any_length():
    rotary = Rotary(2, scaling=RotaryScaling.DYNAMIC, factor=4.0, original_length=8)
    assert inverse_frequencies(rotary, 100).tolist() == [1.0]


def test_only_two_scalings_depend_on_the_length():
    assert [name for name, (rotary, _, _) in CASES.items() if depends_on_length(rotary)] == [
        "dynamic-within", "dynamic-beyond", "longrope-within", "longrope-beyond",
    ]  # fmt: skip
