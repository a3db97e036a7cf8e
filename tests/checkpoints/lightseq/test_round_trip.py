"""What is written is read: every model type, both formats, floats bit for bit."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from slipway.checkpoints.lightseq import writer
from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.checkpoints.lightseq.writer import write_lightseq
from slipway.transformer.spec import Experts, Gate, Languages
from tests.checkpoints.lightseq.models import TYPES, checkpoint, conf_of, spec_of, with_languages

FLOAT_TYPES = tuple(each for each in TYPES if not each.startswith("Quant"))
QUANT_TYPES = tuple(each for each in TYPES if each.startswith("Quant"))
both_formats = pytest.mark.parametrize("suffix", [".pb", ".hdf5"])


def written(tmp_path, suffix, model_type, spec, conf=None):
    source = checkpoint(spec)
    path = write_lightseq(tmp_path / f"model{suffix}", source, conf or conf_of(model_type))
    assert path.name == f"model{suffix}"
    return source, read_lightseq(path, model_type)


@both_formats
@pytest.mark.parametrize("model_type", FLOAT_TYPES)
def test_a_float_model_comes_back_bit_for_bit(model_type, suffix, tmp_path):
    source, found = written(tmp_path, suffix, model_type, spec_of(model_type))
    assert found.conf == conf_of(model_type)
    assert found.checkpoint.spec == source.spec
    assert found.checkpoint.weights.keys() == source.weights.keys()
    for name, array in source.weights.items():
        np.testing.assert_array_equal(found.checkpoint.weights[name], array, err_msg=name)
        assert found.checkpoint.weights[name].dtype == np.float32


@both_formats
@pytest.mark.parametrize("model_type", QUANT_TYPES)
def test_an_8_bit_model_comes_back_within_half_a_step(model_type, suffix, tmp_path):
    source, found = written(tmp_path, suffix, model_type, spec_of(model_type))
    assert found.conf == conf_of(model_type)
    assert found.checkpoint.spec == source.spec
    for name, array in source.weights.items():
        result = found.checkpoint.weights[name]
        if array.ndim == 1 or name.endswith(("positions", "patch.weight")):
            np.testing.assert_array_equal(result, array, err_msg=name)
            continue
        # The clip is the largest value of the file's array, which may be of several canonical ones.
        clip = max(float(np.abs(result).max()), 1e-3) if "embedding" in name else 4.5
        inside = np.abs(array) <= np.abs(result).max()
        assert np.abs(result - array)[inside].max() <= clip / 127 * 0.5 + 2e-3, name
        assert np.corrcoef(result.reshape(-1), array.reshape(-1))[0, 1] > 0.97, name


@both_formats
def test_norms_of_a_post_norm_model_are_kept_one_block_late_and_come_back(suffix, tmp_path):
    source, found = written(tmp_path, suffix, "Transformer", spec_of("Transformer", post=True))
    assert found.checkpoint.spec == source.spec
    for name, array in source.weights.items():
        np.testing.assert_array_equal(found.checkpoint.weights[name], array, err_msg=name)


@both_formats
@pytest.mark.parametrize("mode", [mode for mode in Languages if mode is not Languages.NONE])
def test_languages_come_back(mode, suffix, tmp_path):
    spec = with_languages(spec_of("Transformer"), mode)
    source, found = written(tmp_path, suffix, "Transformer", spec, conf_of("Transformer", multilg_type=mode.value))
    assert found.checkpoint.spec == source.spec
    assert found.conf.multilg_type == mode.value
    name = "decoder.embedding.languages"
    np.testing.assert_array_equal(found.checkpoint.weights[name], source.weights[name])


@both_formats
def test_hard_gates_come_back_with_their_languages(suffix, tmp_path):
    soft = spec_of("Moe")
    experts = Experts(3, 1, Gate.HARD, (0,))
    spec = replace(
        with_languages(soft, Languages.EVERY_TOKEN),
        language_experts=((5, 0), (7, 2)),
    )
    spec = replace(spec, encoder=replace(spec.encoder, experts=experts), decoder=replace(spec.decoder, experts=experts))
    source, found = written(tmp_path, suffix, "Moe", spec, conf_of("Moe", multilg_type=1))
    assert found.checkpoint.spec == source.spec
    name = "encoder.layers.0.feed_forward.up.weight"
    np.testing.assert_array_equal(found.checkpoint.weights[name], source.weights[name])


@both_formats
def test_equal_token_tables_are_one_array_in_memory(suffix, tmp_path):
    spec = spec_of("Transformer")
    spec = replace(spec, encoder=replace(spec.encoder, vocabulary=10), shared_embedding=True)
    _, found = written(tmp_path, suffix, "Transformer", spec)
    assert found.checkpoint.spec.shared_embedding
    assert "decoder.embedding.tokens" not in found.checkpoint.weights


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.pb"
    path.write_bytes(b"before")
    spec = spec_of("QuantBert")
    source = checkpoint(spec)
    source.weights["encoder.embedding.tokens"][0, 0] = np.nan
    with pytest.raises(Exception, match="token_embedding has values that are not finite"):
        write_lightseq(path, source, conf_of("QuantBert"))
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["model.pb"]


def test_a_model_too_large_for_protobuf_becomes_hdf5(tmp_path, monkeypatch):
    spec = spec_of("Gpt")
    size = write_lightseq(tmp_path / "fits.pb", checkpoint(spec), conf_of("Gpt")).stat().st_size
    monkeypatch.setattr(writer, "_PROTOBUF_LIMIT", size)
    path = write_lightseq(tmp_path / "model.pb", checkpoint(spec), conf_of("Gpt"))
    assert path == tmp_path / "model.hdf5"
    assert read_lightseq(path, "Gpt").checkpoint.spec == spec


@both_formats
def test_reading_needs_the_memory_of_one_array(suffix, tmp_path):
    spec = spec_of("Gpt")
    wide = replace(spec.decoder, hidden=256, head_size=128, inner=1024, vocabulary=2000, attention_scale=128**-0.5)
    source = checkpoint(replace(spec, decoder=wide))
    path = write_lightseq(tmp_path / f"model{suffix}", source, conf_of("Gpt"))
    largest = max(array.nbytes for array in source.weights.values())
    tracemalloc.start()
    try:
        weights = read_lightseq(path, "Gpt").checkpoint.weights
        for name in weights:
            weights[name].sum()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * largest + 2e6
    assert path.stat().st_size > 3 * largest
