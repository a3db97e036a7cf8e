"""Combinations that no checkpoint at hand has: CTranslate2 against the torch engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.transformer.ctranslate2.engine import CTranslate2Engine
from slipway.transformer.ctranslate2.support import why_not
from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.spec import Activation, Norm, Positions, Stack, Transformer
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.weights import Array, Weights, expected_shapes

STACK = Stack(layers=2, hidden=24, heads=3, head_size=8, inner=40, vocabulary=50, position_rows=30, attention_scale=0.4)
RELATIVE = {"positions": Positions.RELATIVE, "position_rows": 0, "relative_buckets": 6, "relative_max_distance": 9}
CHANGES = {
    "post-norm with a final normalisation": {"final_norm": True},
    "pre-norm without one": {"pre_norm": True},
    "normalised embedding, no biases": {
        "embedding_norm": True,
        "pre_norm": True,
        "final_norm": True,
        "attention_bias": False,
        "feed_forward_bias": False,
    },
    "root mean square with biases, gated": {
        "norm": Norm.RMS,
        "gated": True,
        "activation": Activation.SILU,
        "norm_epsilon": 0.3,
        "pre_norm": True,
    },
    "a large epsilon": {"norm_epsilon": 0.3},
    "wide heads": {"heads": 2, "head_size": 20, "embedding_scale": 3.0, "activation": Activation.GELU},
    "relative positions, biases": RELATIVE | {"activation": Activation.GELU_TANH},
}


def random_weights(spec):
    generator = np.random.default_rng(5)
    arrays = {}
    for name, shape in expected_shapes(spec).items():
        spread = 0.3 if len(shape) == 1 else shape[-1] ** -0.5 * (1.0 if "embedding" in name else 2.0)
        array = generator.standard_normal(shape).astype(np.float32) * np.float32(spread) + np.float32("scale" in name)
        arrays[name] = Array(shape, lambda array=array: array)
    return Weights(arrays)


def check(spec, directory):
    weights = random_weights(spec)
    ours = CTranslate2Engine.open(spec, weights, cache_directory=directory)
    theirs = TorchEngine.open(spec, weights)
    generator = np.random.default_rng(2)
    ids = [generator.integers(0, 50, length) for length in (4, 7, 1)]
    if spec.decoder is None:
        rows = [SequenceRequest(own) for own in ids]
        for one, other in zip(ours.encode(rows), theirs.encode(rows), strict=True):
            np.testing.assert_allclose(one.hidden, other.hidden, atol=1e-4)
        return
    rows = [SequenceRequest(own, Decoding(10, start_id=3, end_id=-1)) for own in ids]
    for [one], [other] in zip(collect(ours, rows), collect(theirs, rows), strict=True):
        assert one.ids == other.ids
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("form", ["both", "decoder", "encoder"])
def test_every_form_computes_what_the_torch_engine_computes(tmp_path, changes, form):
    stack = replace(STACK, **changes)
    spec = Transformer(
        encoder=None if form == "decoder" else stack,
        decoder=None if form == "encoder" else stack,
    )
    if why_not(spec):
        assert (form, why_not(spec)) == ("decoder", "relative positions of a prompt")
    else:
        check(spec, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"head_bias": True, "logit_scale": 0.3},
        {"tied_head": False, "head_bias": True},
        {"shared_embedding": True, "encoder": replace(STACK, layers=3, **RELATIVE)},
        {"decoder": replace(STACK, layers=1, inner=16, pre_norm=True, final_norm=True, **RELATIVE)},
        {"encoder": replace(STACK, padding_id=0)},
    ],
)
def test_heads_and_unequal_stacks_too(tmp_path, changes):
    check(Transformer(**{"encoder": STACK, "decoder": STACK} | changes), tmp_path)


def test_token_types_are_the_first(tmp_path):
    check(Transformer(encoder=replace(STACK, token_types=2, embedding_norm=True)), tmp_path)
