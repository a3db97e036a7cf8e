"""The decoder of a checkpoint that reads images generates the same as in transformers, for every kind of decoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import Code, SlipwayError
from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.kits.image_readers import DECODERS, save_reader

NEW = 12


def states_of(model, rows=3):
    """Return what the decoder attends to, [rows, tokens, size], of random images."""
    torch.manual_seed(3)
    with torch.inference_mode():
        states = model.encoder(torch.randn(rows, 3, 16, 24)).last_hidden_state
        return model.enc_to_dec_proj(states) if hasattr(model, "enc_to_dec_proj") else states


def expected_ids(model, states, beams):
    projected = hasattr(model, "enc_to_dec_proj")
    assert not projected  # `encoder_outputs` would be projected again
    with torch.inference_mode():
        made = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states), max_new_tokens=NEW, num_beams=beams,
            use_cache=False,
        )  # fmt: skip
    rows = [row[1:].tolist() for row in made]
    return [row[: row.index(2) + 1] if 2 in row else row[:NEW] for row in rows]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("decoder", DECODERS)
def test_ids_are_those_of_transformers(decoder, beams, tmp_path):
    model = save_reader(tmp_path, "vit", decoder)
    states = states_of(model)
    checkpoint = read_huggingface(tmp_path)
    assert checkpoint.spec.encoded_size == 16
    engine = TorchEngine.open(checkpoint.spec, checkpoint.weights, threads=1)
    search = Search.HUGGING_FACE if beams > 1 else Search.SAMPLE
    decoding = Decoding(
        NEW, start_id=checkpoint.spec.start_id, end_id=2, search=search, beam_width=beams, length_penalty=1.0
    )
    empty = np.empty(0, np.int64)
    found = collect(engine, [SequenceRequest(empty, decoding, hidden=row.numpy()) for row in states])
    engine.close()
    expected = expected_ids(model, states, beams)
    assert [list(hypotheses[0].ids) for hypotheses in found] == expected
    assert len({tuple(row) for row in expected}) > 1  # the images make a difference


def test_cross_attention_to_states_of_another_size_is_read(tmp_path):
    model = save_reader(tmp_path, "deit", "trocr", cross_attention_hidden_size=24)
    checkpoint = read_huggingface(tmp_path)
    assert checkpoint.spec.encoded_size == 24
    assert checkpoint.weights["decoder.layers.0.cross_attention.key.weight"].shape == (16, 24)
    assert not hasattr(model, "enc_to_dec_proj")


def test_states_that_are_projected_have_the_size_of_the_decoder(tmp_path):
    model = save_reader(tmp_path, "deit", "mbart")
    assert hasattr(model, "enc_to_dec_proj")
    assert read_huggingface(tmp_path).spec.encoded_size == 16


def test_token_ids_come_from_the_decoder_where_the_whole_does_not_set_them(tmp_path):
    save_reader(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
        config.pop(key, None)
    config["decoder"] |= {"decoder_start_token_id": 5, "eos_token_id": 7, "pad_token_id": 9}
    config["eos_token_id"] = 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    checkpoint = read_huggingface(tmp_path)
    assert (checkpoint.spec.start_id, checkpoint.end_ids, checkpoint.padding_id) == (5, (8,), 9)


def test_an_unknown_decoder_is_refused_with_the_known_ones(tmp_path):
    save_reader(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["decoder"]["model_type"] = "roberta"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SlipwayError, match=r"decoder of type 'roberta'.*bart, gpt2, mbart, trocr") as refused:
        read_huggingface(tmp_path)
    assert refused.value.code is Code.UNSUPPORTED


def test_a_missing_array_of_the_decoder_is_named(tmp_path):
    save_reader(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["decoder"]["decoder_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SlipwayError, match=r"missing: decoder\.model\.decoder\.layers\.2"):
        read_huggingface(tmp_path)
