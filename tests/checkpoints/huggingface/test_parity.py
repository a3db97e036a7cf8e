"""A checkpoint computes the same as in transformers: every family, on the torch engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits.huggingface_models import ENCODER_DECODERS, GENERATING, VOCABULARY, save_model

LENGTHS = (1, 3, 9)
NEW = 10


def rows_of_ids(lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(3, VOCABULARY - 1, length) for length in lengths]


def greedy(model: object, ids: np.ndarray, *, start: int | None, end: int) -> tuple[int, ...]:
    model.generation_config = hf.GenerationConfig(  # type: ignore[attr-defined]
        do_sample=False, num_beams=1, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start
    )
    made = model.generate(torch.from_numpy(ids)[None], max_new_tokens=NEW, use_cache=False)[0]  # type: ignore[attr-defined]
    return tuple(made[len(ids) if start is None else 1 :].tolist())


def generated(checkpoint: HuggingFaceCheckpoint, rows: list[np.ndarray]) -> list[tuple[int, ...]]:
    spec = checkpoint.spec
    engine = TorchEngine.open(spec, checkpoint.weights)
    decoding = Decoding(NEW, start_id=spec.start_id, end_id=spec.end_id)
    results = collect(engine, [SequenceRequest(ids, decoding) for ids in rows])
    engine.close()
    return [hypotheses[0].ids for hypotheses in results]


@pytest.mark.parametrize("family", GENERATING)
def test_greedy_ids_are_those_of_transformers_at_several_lengths_at_once(family, tmp_path):
    model = save_model(family, tmp_path)
    checkpoint, rows = read_huggingface(tmp_path), rows_of_ids()
    start = checkpoint.spec.start_id if family in ENCODER_DECODERS else None
    expected = [greedy(model, ids, start=start, end=checkpoint.spec.end_id) for ids in rows]
    assert generated(checkpoint, rows) == expected
    assert len({*expected}) > 1  # the weights are loud enough for rows to differ


@pytest.mark.parametrize("beams", [1, 4])
def test_a_forced_first_token_is_that_of_transformers(beams, tmp_path):
    model = save_model("m2m_100", tmp_path)
    checkpoint = read_huggingface(tmp_path)
    search = Search.HUGGING_FACE if beams > 1 else Search.SAMPLE
    decoding = Decoding(NEW, start_id=2, end_id=2, search=search, beam_width=beams, length_penalty=1.0, forced=(17,))
    rows = rows_of_ids()
    found = collect(
        TorchEngine.open(checkpoint.spec, checkpoint.weights), [SequenceRequest(ids, decoding) for ids in rows]
    )
    for ids, hypotheses in zip(rows, found, strict=True):
        row = torch.from_numpy(ids)[None]
        made = model.generate(
            row, max_new_tokens=NEW, num_beams=beams, do_sample=False, forced_bos_token_id=17, use_cache=False
        )
        assert hypotheses[0].ids == tuple(token for token in made[0, 1:].tolist() if token != 1)  # 1 pads


def test_separate_vocabularies_and_heads_compute_as_in_transformers(tmp_path):
    model = save_model("marian", tmp_path, share_encoder_decoder_embeddings=False, decoder_vocab_size=45)
    checkpoint, rows = read_huggingface(tmp_path), rows_of_ids()
    expected = [greedy(model, ids, start=checkpoint.spec.start_id, end=checkpoint.spec.end_id) for ids in rows]
    assert generated(checkpoint, rows) == expected


def test_berts_hidden_states_are_those_of_transformers(tmp_path):
    model = save_model("bert", tmp_path)
    checkpoint = read_huggingface(tmp_path)
    rows = rows_of_ids()
    found = TorchEngine.open(checkpoint.spec, checkpoint.weights).encode([SequenceRequest(ids) for ids in rows])
    for ids, encoded in zip(rows, found, strict=True):
        with torch.inference_mode():
            expected = model(torch.from_numpy(ids)[None]).last_hidden_state[0].numpy()
        np.testing.assert_allclose(encoded.hidden, expected, atol=2e-5)


def test_vits_hidden_states_are_those_of_transformers(tmp_path):
    model = save_model("vit", tmp_path)
    checkpoint = read_huggingface(tmp_path)
    pixels = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    empty = np.zeros(0, np.int64)
    found = TorchEngine.open(checkpoint.spec, checkpoint.weights).encode(
        [SequenceRequest(empty, pixels=each) for each in pixels]
    )
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels)).last_hidden_state.numpy()
    np.testing.assert_allclose(np.stack([each.hidden for each in found]), expected, atol=2e-5)


def test_reading_never_needs_the_weights_in_memory_twice(tmp_path: Path) -> None:
    save_model("t5", tmp_path)
    tokens = read_huggingface(tmp_path).weights["encoder.embedding.tokens"]
    assert not tokens.flags.owndata  # a view of the mapped file
