"""CTranslate2 generates what transformers generates, for every family of decoders that it can express."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.transformer.ctranslate2.engine import CTranslate2Engine
from slipway.transformer.ctranslate2.support import why_not
from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.spec import Norm, Positions, Rotary, RotaryScaling, Stack, Transformer
from tests.kits.decoder_models import DECODERS, VOCABULARY, save_decoder

NEW = 20
EXPERTS, WINDOW = "a mixture of experts", "an attention window"
REFUSED = {
    "gemma2": f"{WINDOW}; a soft cap of attention scores; a soft cap of the scores over the vocabulary",
    "gemma3_text": f"rotary positions of two kinds; {WINDOW}",
    "granite": "scaled residuals",
    "llama-dynamic": "rotary scaling 'dynamic'",
    "mistral": WINDOW,
    "mixtral": EXPERTS,
    "olmo2": (
        "normalised queries and keys of all heads together; normalised outputs of blocks without normalised inputs"
    ),
    "opt-350m": "a token table of another width",
    "phi3": WINDOW,
    "phi3-longrope": "rotary scaling 'longrope'",
    "qwen2": WINDOW,
    "qwen2_moe": EXPERTS,
    "qwen3_moe": EXPERTS,
    "smollm3": f"layers without positions; {WINDOW}",
    "starcoder2": WINDOW,
}
CASES = {name: (name, {}) for name in DECODERS} | {
    "mistral without a window": ("mistral", {"sliding_window": None}),
    "mistral with a window as wide as its context": ("mistral", {"sliding_window": 256}),
    "phi3 without a window": ("phi3", {"sliding_window": None}),
    "qwen2 with YaRN": ("qwen2", {"use_sliding_window": False}),
    "starcoder2 without a window": ("starcoder2", {"sliding_window": None}),
    "llama 3.2": (
        "llama-3.1",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
                "rope_theta": 500.0,
            }
        },
    ),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def expected_ids(model, ids):
    prompt = torch.from_numpy(ids)[None]
    with torch.inference_mode():
        made = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    return tuple(made[0, len(ids) :].tolist())


def expected_loss(model, ids):
    row = torch.from_numpy(ids)
    with torch.inference_mode():
        [logits] = model(row[None], use_cache=False).logits
    return float(torch.nn.functional.cross_entropy(logits[:-1], row[1:]))


@pytest.mark.parametrize(("name", "changes"), CASES.values(), ids=CASES)
def test_ids_and_scores_are_those_of_transformers_alone_and_in_a_batch(name, changes, tmp_path):
    model = save_decoder(name, tmp_path / "checkpoint", **changes)
    checkpoint = read_huggingface(tmp_path / "checkpoint")
    refused = "" if changes else REFUSED.get(name, "")
    assert why_not(checkpoint.spec) == refused
    if refused:
        return
    engine = CTranslate2Engine.open(checkpoint.spec, checkpoint.weights, cache_directory=tmp_path / "cache", threads=1)
    prompts = [np.random.default_rng(length).integers(3, VOCABULARY, length) for length in (40, 5, 21)]
    rows = [SequenceRequest(ids, Decoding(NEW, end_id=-1)) for ids in prompts]
    together = [hypothesis.ids for [hypothesis] in collect(engine, rows)]
    [[alone]] = collect(engine, rows[:1])
    assert together == [expected_ids(model, ids) for ids in prompts]
    assert alone.ids == together[0]
    losses = engine.score([SequenceRequest(ids) for ids in prompts])
    assert losses == pytest.approx([expected_loss(model, ids) for ids in prompts], abs=1e-4)
    engine.close()


@pytest.mark.parametrize("name", ["llama-3.1", "gemma", "falcon-40b"])
def test_int8_scores_text_almost_like_transformers(name, tmp_path):
    model = save_decoder(name, tmp_path / "checkpoint")
    checkpoint = read_huggingface(tmp_path / "checkpoint")
    engine = CTranslate2Engine.open(
        checkpoint.spec, checkpoint.weights, compute_type="int8", cache_directory=tmp_path / "cache", threads=1
    )
    ids = np.random.default_rng(1).integers(3, VOCABULARY, 60)
    assert engine.score([SequenceRequest(ids)]) == pytest.approx([expected_loss(model, ids)], rel=0.03)
    engine.close()


STACK = Stack(
    layers=2, hidden=16, heads=2, head_size=8, inner=32, vocabulary=40, positions=Positions.ROTARY, rotary=Rotary(8),
    pre_norm=True, context=64,
)  # fmt: skip
HALF = Rotary(4, scaling=RotaryScaling.YARN, factor=4.0, original_length=16, magnitude=1.1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"window": 8, "window_layers": (0,)}, WINDOW),
        ({"window": 64, "window_layers": (0,)}, ""),
        ({"window": 64, "window_layers": (0,), "context": 0}, WINDOW),
        ({"rotary": HALF}, "a magnitude of the rotated part of a head"),
        ({"norm": Norm.RMS, "parallel": True}, "parallel blocks with root mean square norms"),
        (
            {"positions": Positions.ALIBI, "rotary": None, "alibi_scale": 0.3},
            "penalties for distance with a scale of their own (ALiBi)",
        ),
    ],
)
def test_what_a_decoder_cannot_have_is_named(changes, reason):
    assert why_not(Transformer(decoder=replace(STACK, **changes))) == reason


def test_beside_an_encoder_these_features_are_refused():
    plain = Stack(layers=2, hidden=16, heads=2, head_size=8, inner=32, vocabulary=40, position_rows=20)
    assert why_not(Transformer(encoder=plain, decoder=STACK)) == "rotary positions"
