"""Both formats, written by others: Google's protobuf and h5py, in every form that exporters write."""

from __future__ import annotations

from math import sqrt

import h5py
import numpy as np
import pytest

from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.transformer.spec import Activation
from tests.kits import lightseq_files as other


@pytest.fixture(scope="module")
def values():
    return other.arrays()


def canonical(values):
    """Return what the canonical arrays must be, worked out by hand."""
    hidden = other.HIDDEN
    found = {
        "encoder.embedding.tokens": values["src_embedding/token_embedding"],
        "decoder.embedding.tokens": values["trg_embedding/token_embedding"].T,
        "head.bias": values["trg_embedding/shared_bias"],
    }
    for name, group in (("encoder", "src_embedding"), ("decoder", "trg_embedding")):
        found[f"{name}.embedding.positions"] = values[f"{group}/position_embedding"]
        found[f"{name}.final_norm.scale"] = values[f"{group}/norm_scale"]
        found[f"{name}.final_norm.bias"] = values[f"{group}/norm_bias"]
    for layer in range(other.ENCODERS):
        found |= block(f"encoder.layers.{layer}", f"encoder_stack/{layer}", "multihead", values)
    kernel = values["trg_embedding/encode_output_project_kernel_kv"].reshape(hidden, -1)
    bias = values["trg_embedding/encode_output_project_bias_kv"].reshape(-1)
    for layer in range(other.DECODERS):
        found |= block(f"decoder.layers.{layer}", f"decoder_stack/{layer}", "self", values)
        cross = f"decoder.layers.{layer}.cross_attention"
        stored = f"decoder_stack/{layer}/encdec"
        for index, part in enumerate(("key", "value")):
            columns = slice((2 * layer + index) * hidden, (2 * layer + index + 1) * hidden)
            found[f"{cross}.{part}.weight"] = kernel[:, columns].T
            found[f"{cross}.{part}.bias"] = bias[columns]
        found[f"{cross}.query.weight"] = values[f"{stored}_project_kernel_q"].T
        found[f"{cross}.query.bias"] = values[f"{stored}_project_bias_q"]
        found[f"{cross}.output.weight"] = values[f"{stored}_project_kernel_output"].T
        found[f"{cross}.output.bias"] = values[f"{stored}_project_bias_output"]
        found[f"{cross}.norm.scale"] = values[f"{stored}_norm_scale"]
        found[f"{cross}.norm.bias"] = values[f"{stored}_norm_bias"]
    return found


def block(name, stored, attention, values):
    hidden = other.HIDDEN
    kernel = values[f"{stored}/{attention}_project_kernel_qkv"].reshape(hidden, 3 * hidden)
    bias = values[f"{stored}/{attention}_project_bias_qkv"].reshape(-1)
    found = {}
    for index, part in enumerate(("query", "key", "value")):
        columns = slice(index * hidden, (index + 1) * hidden)
        found[f"{name}.self_attention.{part}.weight"] = kernel[:, columns].T
        found[f"{name}.self_attention.{part}.bias"] = bias[columns]
    found[f"{name}.self_attention.output.weight"] = values[f"{stored}/{attention}_project_kernel_output"].T
    found[f"{name}.self_attention.output.bias"] = values[f"{stored}/{attention}_project_bias_output"]
    for place, norm in (("self_attention", f"{attention}_norm"), ("feed_forward", "ffn_norm")):
        found[f"{name}.{place}.norm.scale"] = values[f"{stored}/{norm}_scale"]
        found[f"{name}.{place}.norm.bias"] = values[f"{stored}/{norm}_bias"]
    for part, kernel_name in (("up", "first"), ("down", "second")):
        found[f"{name}.feed_forward.{part}.weight"] = values[f"{stored}/ffn_{kernel_name}_kernel"].T
        found[f"{name}.feed_forward.{part}.bias"] = values[f"{stored}/ffn_{kernel_name}_bias"]
    return found


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


@pytest.mark.capability("1.4")
@pytest.mark.parametrize("packed", [True, False])
def test_a_pb_of_googles_protobuf_is_read(packed, values, tmp_path):
    path = tmp_path / "transformer.pb"
    path.write_bytes(other.transformer(values, packed=packed).SerializeToString())
    found = read_lightseq(path, "Transformer")
    assert_same(found.checkpoint.weights, canonical(values))


def test_settings_and_sizes_of_a_pb_are_the_engines(values, tmp_path):
    path = tmp_path / "transformer.pb"
    path.write_bytes(other.transformer(values).SerializeToString())
    found = read_lightseq(path, "Transformer")
    conf, spec = found.conf, found.checkpoint.spec
    assert (conf.sampling_method, conf.beam_size, conf.length_penalty) == ("beam_search", 4, -0.5)
    assert (conf.start_id, conf.end_id, conf.padding_id) == (2, other.TARGET - 1, 1)  # end 0: the last token
    assert (conf.max_step, conf.extra_decode_length, conf.multilg_type) == (other.ROWS, 50, 0)
    assert spec.logit_scale == pytest.approx(1 / sqrt(other.HIDDEN))
    assert (spec.encoder.vocabulary, spec.decoder.vocabulary, spec.encoder.inner) == (11, 10, 12)
    assert (spec.encoder.norm_epsilon, spec.encoder.activation) == (1e-12, Activation.GELU_TANH)
    assert (spec.encoder.padding_id, spec.decoder.padding_id, spec.end_id) == (1, None, 9)
    other_epsilon = read_lightseq(path, "Transformer", norm_epsilon=1e-5)
    assert other_epsilon.checkpoint.spec.decoder.norm_epsilon == 1e-5


def test_no_scale_embedding_leaves_logits_alone(values, tmp_path):
    path = tmp_path / "transformer.pb"
    path.write_bytes(other.transformer(values, no_scale_embedding=True, use_gelu=False).SerializeToString())
    spec = read_lightseq(path, "Transformer").checkpoint.spec
    assert (spec.logit_scale, spec.encoder.activation) == (1.0, Activation.RELU)


def test_a_message_in_two_pieces_is_merged_as_protobuf_merges(values, tmp_path):
    one, two = {}, {}
    for path, array in values.items():
        half = array.size // 2
        flat = array.reshape(-1)
        target = path.startswith(("src", "trg"))
        one[path] = flat[:half] if target else flat
        two[path] = flat[half:] if target else flat[:0]
    cls = other.transformer_class()
    first, second = other.transformer(one), other.transformer(two)
    del second.encoder_stack[:], second.decoder_stack[:]
    path = tmp_path / "transformer.pb"
    path.write_bytes(first.SerializeToString() + second.SerializeToString())
    cls.FromString(path.read_bytes())  # protobuf's own parser accepts it
    assert_same(read_lightseq(path, "Transformer").checkpoint.weights, canonical(values))


def test_unknown_fields_of_a_pb_are_skipped_with_a_warning(values, tmp_path, caplog):
    path = tmp_path / "transformer.pb"
    path.write_bytes(b"\xfa\x3e\x03abc" + other.transformer(values).SerializeToString())
    assert_same(read_lightseq(path, "Transformer").checkpoint.weights, canonical(values))
    assert "skipped 1 unknown field(s) '1007'" in caplog.text


@pytest.mark.capability("1.5")
@pytest.mark.parametrize("shaped", [True, False])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
@pytest.mark.parametrize("options", [None, {"compression": "gzip"}, {"chunks": True}], ids=["plain", "gzip", "chunks"])
def test_an_hdf5_is_read_flat_or_shaped_in_either_width(shaped, dtype, options, values, tmp_path):
    path = tmp_path / "transformer.hdf5"
    other.write_hdf5(path, values, dtype=dtype, shaped=shaped, options=options)
    found = read_lightseq(path, "Transformer")
    assert_same(found.checkpoint.weights, canonical(values))
    assert (found.conf.sampling_method, found.conf.length_penalty) == ("beam_search", -0.5)


def test_texts_switches_and_missing_settings_of_an_hdf5(values, tmp_path):
    path = tmp_path / "transformer.hdf5"
    conf = {"sampling_method": "topk_greedy", "is_post_ln": np.True_, "no_scale_embedding": 1}
    other.write_hdf5(path, values, dtype="f4", shaped=False, conf=conf, without=("multilg_type", "diverse_lambda"))
    found = read_lightseq(path, "Transformer")
    assert (found.conf.sampling_method, found.conf.multilg_type) == ("topk_greedy", 0)
    assert (found.checkpoint.spec.encoder.pre_norm, found.checkpoint.spec.logit_scale) == (False, 1.0)


def test_empty_lists_of_exporters_are_nothing(values, tmp_path):
    path = tmp_path / "transformer.hdf5"
    other.write_hdf5(path, {**values, "src_embedding/lang_emb": np.zeros(0)}, dtype="f8", shaped=False)
    assert read_lightseq(path, "Transformer").checkpoint.spec.encoder.languages == 0


def test_aligned_arrays_that_need_no_change_are_views_of_the_file(values, tmp_path):
    path = tmp_path / "transformer.hdf5"
    other.write_hdf5(path, values, dtype="<f4", shaped=False)
    weights = read_lightseq(path, "Transformer").checkpoint.weights
    bias = weights["head.bias"]
    assert not bias.flags.owndata
    assert bias.flags.writeable  # copy on write: the file does not change
    bias[0] = 7
    with h5py.File(path) as file:
        assert file["trg_embedding/shared_bias"][0] == values["trg_embedding/shared_bias"][0]
