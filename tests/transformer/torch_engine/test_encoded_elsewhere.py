"""A decoder whose encoder is another model generates exactly what the two generate together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.errors import SlipwayError
from slipway.transformer.ctranslate2 import support
from slipway.transformer.engine_choice import why_torch
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Stack, Transformer
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.weights import Array, Weights
from tests.transformer.torch_engine.models import random_weights

ENCODER = Stack(1, 12, 3, 4, 20, 30, position_rows=24, attention_scale=0.5, pre_norm=True, final_norm=True)
DECODER = Stack(2, 8, 2, 4, 16, 30, position_rows=16, attention_scale=0.5, pre_norm=True, final_norm=True)
WHOLE = Transformer(ENCODER, DECODER, start_id=2)
ALONE = Transformer(decoder=DECODER, encoded_size=12, start_id=2)
GREEDY = Decoding(9, start_id=2, end_id=1)
BEAMS = replace(GREEDY, search=Search.HUGGING_FACE, beam_width=3, length_penalty=1.0)
DRAWS = replace(GREEDY, top_k=5, seed=3)


@pytest.fixture(scope="module")
def engines():
    weights = random_weights(WHOLE)
    kept = [name for name in weights if name.startswith("decoder.")]
    arrays = {name: Array(weights.shapes[name], lambda name=name: weights[name]) for name in kept}
    pair = TorchEngine.open(WHOLE, weights, threads=1), TorchEngine.open(ALONE, Weights(arrays), threads=1)
    yield pair
    for engine in pair:
        engine.close()


def sources(*lengths):
    random = np.random.default_rng(5)
    return [random.integers(3, 30, length, dtype=np.int64) for length in lengths]


@pytest.mark.parametrize("decoding", [GREEDY, BEAMS, DRAWS], ids=["greedy", "beams", "draws"])
def test_a_decoder_with_states_from_elsewhere_equals_the_whole_in_batches_of_mixed_lengths(engines, decoding):
    whole, alone = engines
    rows = [SequenceRequest(ids, decoding) for ids in sources(7, 1, 4, 7)]
    states = [each.hidden for each in whole.encode(rows)]
    empty = np.empty(0, np.int64)
    found = collect(alone, [SequenceRequest(empty, decoding, hidden=hidden) for hidden in states])
    expected = collect(whole, rows)
    for ours, theirs in zip(found, expected, strict=True):
        assert [each.ids for each in ours] == [each.ids for each in theirs]
        np.testing.assert_allclose(
            [each.log_probability for each in ours], [each.log_probability for each in theirs], rtol=1e-5
        )


def test_rows_that_do_not_fit_are_refused_with_both_shapes(engines):
    _, alone = engines
    empty = np.empty(0, np.int64)
    assert "[tokens, 12], got ids" in alone.refusal(SequenceRequest(np.ones(3, np.int64), GREEDY))
    assert "shape [4, 8], expected [tokens, 12]" in alone.refusal(
        SequenceRequest(empty, GREEDY, hidden=np.zeros((4, 8), np.float32))
    )
    assert "17 tokens to generate" in alone.refusal(
        SequenceRequest(empty, replace(GREEDY, max_tokens=17), hidden=np.zeros((40, 12), np.float32))
    )
    assert not alone.refusal(SequenceRequest(empty, GREEDY, hidden=np.zeros((40, 12), np.float32)))


def test_what_needs_an_encoder_or_a_prompt_is_refused(engines):
    _, alone = engines
    row = SequenceRequest(np.empty(0, np.int64), GREEDY, hidden=np.zeros((4, 12), np.float32))
    with pytest.raises(SlipwayError, match="has no encoder"):
        alone.encode([row])
    with pytest.raises(SlipwayError, match="only decoder-only models"):
        alone.score([row])


def test_ctranslate2_is_never_chosen():
    assert "hidden states from another model" in support.why_not(ALONE)
    assert why_torch(ALONE, EngineOptions("auto", "int8"))


def test_states_from_elsewhere_replace_an_encoder():
    with pytest.raises(SlipwayError, match="without an encoder"):
        Transformer(ENCODER, DECODER, encoded_size=12)
    with pytest.raises(SlipwayError, match="without an encoder"):
        Transformer(ENCODER, encoded_size=12)
