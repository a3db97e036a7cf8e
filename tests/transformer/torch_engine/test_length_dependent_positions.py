"""Rotary positions that depend on the length of a sequence: each row has its own, whatever it is batched with."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.module.static_decoder_state import StaticDecoderState
from slipway.transformer.spec import Rotary, RotaryScaling, Transformer
from slipway.transformer.torch_engine import engine as engine_module
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.torch_engine.step_runner import StaticStepRunner
from tests.transformer.torch_engine.decoders import LLAMA, LLAMA_SIZES, VOCABULARY, Decoder, decoder, llama_like

ORIGINAL = 24
LENGTHS = (40, 1, 20, 24)  # beyond the original length, below it for long, crossing it soon, at once
NEW_TOKENS = 30
DYNAMIC = Rotary(8, scaling=RotaryScaling.DYNAMIC, factor=3.0, original_length=ORIGINAL)
LONGROPE = Rotary(
    8, scaling=RotaryScaling.LONGROPE, original_length=ORIGINAL, magnitude=1.2, short_factors=(1.0, 1.1, 1.2, 1.3),
    long_factors=(1.0, 2.0, 4.0, 8.0),
)  # fmt: skip
SETTINGS = {
    "dynamic": (DYNAMIC, {"rope_type": "dynamic", "factor": 3.0}),
    "longrope": (
        LONGROPE,
        {
            "rope_type": "longrope", "short_factor": list(LONGROPE.short_factors), "factor": 4.0,
            "long_factor": list(LONGROPE.long_factors), "attention_factor": 1.2,
            "original_max_position_embeddings": ORIGINAL,
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=SETTINGS)
def model(request) -> Decoder:
    from transformers import LlamaConfig, LlamaForCausalLM

    rotary, parameters = SETTINGS[request.param]
    sizes = LLAMA_SIZES | {"max_position_embeddings": ORIGINAL}
    config = LlamaConfig(
        **sizes, tie_word_embeddings=False, rms_norm_eps=1e-6, rope_parameters={"rope_theta": 1e4, **parameters}
    )
    return decoder(
        LlamaForCausalLM(config), Transformer(decoder=replace(LLAMA, rotary=rotary), tied_head=False), llama_like
    )


def rows(**changes: object) -> list[SequenceRequest]:
    random = np.random.default_rng(5)
    decoding = replace(Decoding(NEW_TOKENS, end_id=-1), **changes)
    return [SequenceRequest(random.integers(3, VOCABULARY, length), decoding) for length in LENGTHS]


def reference(model: Decoder, prompt: np.ndarray) -> list[int]:
    """Return the greedy ids of `transformers`, token by token with a cache."""
    own = deepcopy(model.model)  # it remembers the longest sequence that it has seen
    past, ids, found = None, torch.from_numpy(prompt)[None], []
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            seen = own(ids, past_key_values=past, use_cache=True)
            past, ids = seen.past_key_values, seen.logits[:, -1:].argmax(-1)
            found.append(int(ids))
    return found


def ids_of(engine: TorchEngine, requests: list[SequenceRequest]) -> list[list[int]]:
    return [list(hypotheses[0].ids) for hypotheses in collect(engine, requests)]


def test_rows_of_all_lengths_generate_the_ids_of_transformers(model):
    engine = TorchEngine.open(model.spec, model.weights, threads=1)
    assert ids_of(engine, rows()) == [reference(model, row.ids) for row in rows()]


def test_beams_do_not_depend_on_the_batch(model):
    engine = TorchEngine.open(model.spec, model.weights, threads=1)
    requests = rows(beam_width=3, search=Search.HUGGING_FACE)
    assert ids_of(engine, requests) == [ids_of(engine, [row])[0] for row in requests]


def test_fixed_steps_generate_the_ids_of_growing_ones(model, monkeypatch):
    engine = TorchEngine.open(model.spec, model.weights, threads=1)
    growing = ids_of(engine, rows())
    monkeypatch.setattr(
        engine_module,
        "choose_step_runner",
        lambda network, state, _: StaticStepRunner(network, StaticDecoderState(state, state.cache.length + NEW_TOKENS)),
    )
    assert ids_of(engine, rows()) == growing
