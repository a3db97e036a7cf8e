"""Files that are not valid models: each is refused with all its problems, and nothing else happens."""

from __future__ import annotations

import random
import re
import struct
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.checkpoints.lightseq.writer import write_lightseq
from slipway.errors import Code, SlipwayError
from tests.checkpoints.lightseq.models import TYPES, checkpoint, conf_of, spec_of
from tests.kits import lightseq_files as other


@pytest.fixture(scope="module")
def values():
    return other.arrays()


def refused(path, model_type="Transformer"):
    with pytest.raises(SlipwayError) as caught:
        read_lightseq(path, model_type)
    return caught.value.message


def pb_of(tmp_path, values, **conf):
    path = tmp_path / "transformer.pb"
    path.write_bytes(other.transformer(values, **conf).SerializeToString())
    return path


@pytest.mark.capability("1.17")
def test_another_extension_is_refused_naming_the_two(tmp_path):
    with pytest.raises(SlipwayError, match=r"Supported extensions are: \.pb, \.hdf5") as caught:
        read_lightseq(tmp_path / "model.onnx", "Transformer")
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.capability("1.17")
def test_an_unknown_model_type_is_refused_naming_all(tmp_path):
    with pytest.raises(SlipwayError, match="Model not supported") as caught:
        read_lightseq(tmp_path / "model.pb", "Llama")
    assert all(each in caught.value.message for each in TYPES)


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "model.pb") in refused(tmp_path / "model.pb")


@pytest.mark.capability("1.17")
def test_wrong_sizes_are_all_named_in_the_engines_words(tmp_path, values):
    wrong = dict(values)
    for path in (
        "src_embedding/token_embedding",
        "encoder_stack/1/ffn_norm_bias",
        "decoder_stack/2/encdec_project_kernel_q",
    ):
        wrong[path] = values[path].reshape(-1)[:-1]
    wrong["trg_embedding/shared_bias"] = np.zeros(3, np.float32)
    wrong["decoder_stack/0/self_norm_scale"] = np.zeros(0, np.float32)
    message = refused(pb_of(tmp_path, wrong))
    for name in ("token_embedding", "ffn_norm_bias", "encdec_project_kernel_q", "shared_bias", "self_norm_scale"):
        assert f"Wrong {name}_size !" in message
    assert "encoder_stack/1/ffn_norm_bias has 7 values, expected 8" in message
    assert "decoder_stack/0/self_norm_scale is missing" in message


@pytest.mark.capability("1.17")
def test_missing_datasets_of_an_hdf5_are_all_named(tmp_path, values):
    gone = ("trg_embedding/position_embedding", "decoder_stack/0/ffn_first_kernel", "encoder_stack/0/ffn_norm_scale")
    path = tmp_path / "transformer.hdf5"
    other.write_hdf5(
        path, {name: array for name, array in values.items() if name not in gone}, dtype="f4", shaped=False
    )
    message = refused(path)
    assert all(f"{name} is missing" in message for name in gone)


def test_a_model_without_its_last_norm_is_refused_by_that(tmp_path, values):
    nothing = {name: array for name, array in values.items() if name.endswith("position_embedding")}
    assert "Wrong norm_scale_size !" in refused(pb_of(tmp_path, nothing))


@pytest.mark.capability("1.13")
def test_beam_sizes_that_the_engine_has_are_taken_and_others_refused(tmp_path, values):
    for width in (1, 2, 4, 8, 16, 32):
        assert read_lightseq(pb_of(tmp_path, values, beam_size=width), "Transformer").conf.beam_size == width
    for width in (0, 3, 64, -1):
        message = refused(pb_of(tmp_path, values, beam_size=width))
        assert f"beam_size {width}, expected one of 1, 2, 4, 8, 16, 32" in message


def test_the_beam_size_of_a_sampling_model_does_not_matter(tmp_path, values):
    path = pb_of(tmp_path, values, beam_size=3, sampling_method="topk", topk=8)
    assert read_lightseq(path, "Transformer").conf.beam_size == 1


@pytest.mark.parametrize(
    ("conf", "text"),
    [
        ({"sampling_method": "topk", "topk": 3}, "Unsupported topk 3, expected one of 1, 2, 4, 8, 16, 32"),
        ({"sampling_method": "topp", "topp": 1.5}, "topp is 1.5"),
        ({"sampling_method": "ppl"}, "Unsupported sampling_method 'ppl', expected beam_search"),
        ({"sampling_method": "dancing"}, "Unsupported sampling_method 'dancing'"),
        ({"head_num": 3}, "Wrong head_num: hidden_size 8 % head_num 3 != 0"),
        ({"head_num": 0}, "Wrong head_num"),
        ({"multilg_type": 4}, "multilg_type is 4"),
        ({"multilg_type": 1}, "Wrong lang_emb_size !"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"diverse_lambda": float("inf")}, "diverse_lambda is inf"),
        ({"extra_decode_length": -5}, "extra_decode_length is -5"),
    ],
)
def test_settings_that_the_engine_would_not_take_are_named(conf, text, tmp_path, values):
    assert text in refused(pb_of(tmp_path, values, **conf))


def test_more_steps_than_the_engine_has_are_refused(tmp_path, values):
    longer = dict(values)
    for group in ("src_embedding", "trg_embedding"):
        longer[f"{group}/position_embedding"] = np.zeros((1025, other.HIDDEN), np.float32)
    assert "max_step is 1025, expected 1 to 1024" in refused(pb_of(tmp_path, longer))


def test_a_hidden_size_that_is_not_a_multiple_of_four_is_refused(tmp_path, values):
    odd = {**values, "trg_embedding/norm_scale": np.zeros(6, np.float32)}
    assert "hidden_size is 6, expected a multiple of 4" in refused(pb_of(tmp_path, odd))


def test_a_pb_of_another_type_is_refused(tmp_path, values):
    path = pb_of(tmp_path, values)
    for model_type in TYPES:
        if model_type not in ("Transformer", "Moe"):  # a Transformer is a Moe without experts
            refused(path, model_type)


def test_a_field_of_the_wrong_kind_is_named_with_file_offset_and_field(tmp_path):
    path = tmp_path / "model.pb"
    path.write_bytes(b"\x2a\x02\x0d\x00" + bytes(8))
    assert str(path) in refused(path)
    path.write_bytes(b"\x2a\x05\x0d" + struct.pack("<f", 1.0))
    message = refused(path)
    assert "field 'model_conf/head_num' (1) is fixed32, expected int32 (offset 2 in model_conf)" in message


def test_bytes_that_are_not_floats_are_named(tmp_path):
    path = tmp_path / "model.pb"
    path.write_bytes(b"\x0a\x05\x0a\x03abc")
    assert "field 'src_embedding/token_embedding' has 3 bytes, not a whole number of floats" in refused(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path, values):
    data = pb_of(tmp_path, values).read_bytes()
    path = tmp_path / "cut.pb"
    for length in (0, 1, 2, 3, 100, len(data) // 2, len(data) - 1, *random.Random(0).sample(range(len(data)), 40)):
        path.write_bytes(data[:length])
        refused(path)


@pytest.mark.parametrize("suffix", [".pb", ".hdf5"])
def test_noise_in_a_file_is_never_more_than_an_error(suffix, tmp_path):
    path = write_lightseq(tmp_path / f"model{suffix}", checkpoint(spec_of("Moe")), conf_of("Moe"))
    data = path.read_bytes()
    chance = random.Random(1)
    damaged = tmp_path / f"damaged{suffix}"
    for _ in range(60 if suffix == ".pb" else 25):
        noisy = bytearray(data)
        for _ in range(chance.choice((1, 3, 30))):
            noisy[chance.randrange(len(noisy))] = chance.randrange(256)
        damaged.write_bytes(noisy)
        try:
            found = read_lightseq(damaged, "Moe")
            for name in found.checkpoint.weights:
                assert found.checkpoint.weights[name] is not None
        except SlipwayError as error:
            assert "damaged" in error.message  # noqa: PT017  most damage is to numbers and goes unseen


@pytest.mark.parametrize("data", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_a_file_that_is_not_hdf5_is_refused(data, tmp_path):
    path = tmp_path / "model.hdf5"
    path.write_bytes(data)
    assert f"'{path}' is not a readable HDF5 file" in refused(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], r"it is truncated, with \d+ of \d+ bytes; copy or download it again"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\n" * 40, "a Git LFS pointer"),
    ],
)
def test_an_hdf5_that_cannot_be_opened_says_what_happened_to_it(damage, reason, tmp_path):
    path = tmp_path / "model.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(4000, np.float32))
    path.write_bytes(damage(path.read_bytes()))
    text = refused(path)
    assert re.search(reason, text)
    assert "h5" not in text.replace(".hdf5", "")
    assert "sblock" not in text


def test_without_h5py_an_hdf5_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "model.hdf5").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert 'pip install "slipway-serving[generate]"' in refused(tmp_path / "model.hdf5")


def test_an_hdf5_cut_off_is_refused(tmp_path, values):
    path = tmp_path / "model.hdf5"
    other.write_hdf5(path, values, dtype="f4", shaped=False)
    path.write_bytes(path.read_bytes()[:5000])
    refused(path)


def test_datasets_of_wrong_kinds_are_all_named(tmp_path, values):
    path = tmp_path / "model.hdf5"
    other.write_hdf5(
        path, values, dtype="f4", shaped=False, without=("head_num", "beam_size", "sampling_method", "topk")
    )
    with h5py.File(path, "a") as file:
        del file["src_embedding/norm_scale"], file["encoder_stack/1"], file["trg_embedding/norm_bias"]
        file["src_embedding/norm_scale"] = np.array([b"a", b"b"])
        file.create_group("trg_embedding/norm_bias")
        file["encoder_stack/1"] = 3
        file["model_conf/head_num"] = 2.5
        file["model_conf/beam_size"] = [4, 4]
        file["model_conf/sampling_method"] = 0.5
        file["model_conf/topk"] = "four"
    message = refused(path)
    for text in (
        "src_embedding/norm_scale is |S1, expected floats",
        "trg_embedding/norm_bias is a group, expected a dataset",
        "encoder_stack/1 is a dataset, expected a group",
        "model_conf/head_num is float64 [2.5], expected int32",
        "model_conf/beam_size has 2 values, expected 1",
        "model_conf/sampling_method is float64, expected character codes",
        "model_conf/topk is |S4",
    ):
        assert text in message


def test_a_count_of_layers_that_are_not_there_is_refused(tmp_path, values):
    path = tmp_path / "model.hdf5"
    other.write_hdf5(path, values, dtype="f4", shaped=False)
    with h5py.File(path, "a") as file:
        del file["model_conf/n_encoder_stack"]
        file["model_conf/n_decoder_stack"][()] = 2**31 - 1
    message = refused(path)
    assert "model_conf/n_encoder_stack is missing" in message
    assert "decoder_stack/3 is missing: model_conf/n_decoder_stack is 2147483647" in message


@pytest.mark.parametrize(("kind", "text"), [("float32", "expected uint8"), ("int32", "expected uint8")])
def test_malformed_8_bit_weights_are_refused(kind, text, tmp_path):
    path = write_lightseq(tmp_path / "model.hdf5", checkpoint(spec_of("QuantBert")), conf_of("QuantBert"))
    with h5py.File(path, "a") as file:
        name = "encoder_stack/0/ffn_first_kernel"
        data = file[name][()].astype(kind)
        del file[name]
        file[name] = data
    assert text in refused(path, "QuantBert")


@pytest.mark.parametrize("clip", [None, 0.0, float("nan"), -1.0])
def test_an_8_bit_kernel_without_a_clip_is_refused(clip, tmp_path):
    path = write_lightseq(tmp_path / "model.hdf5", checkpoint(spec_of("QuantBert")), conf_of("QuantBert"))
    with h5py.File(path, "a") as file:
        del file["encoder_stack/0/ffn_first_kernel_clip_max"]
        if clip is not None:
            file["encoder_stack/0/ffn_first_kernel_clip_max"] = clip
    assert "Wrong ffn_first_kernel_clip_max !" in refused(path, "QuantBert")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("moe_list_encoder", [5], "moe_list_encoder is [5], but the encoder has layers 0 to 1"),
        ("expert_num_decoder", 0, "expert_num_decoder is 0"),
        ("moe_topk_encoder", 3, "moe_topk_encoder is 3 of 3 experts, expected 1 or 2"),
        ("gate_type", 2, "gate_type is 2, expected 0 (soft) or 1 (hard)"),
        ("gate_type", 1, "lang2gate has languages [] and gates []"),
        ("expert_num_encoder", 2**31 - 1, "Wrong ffn_first_kernel_size !"),
    ],
)
def test_experts_that_do_not_fit_are_named(name, value, text, tmp_path):
    path = write_lightseq(tmp_path / "model.hdf5", checkpoint(spec_of("Moe")), conf_of("Moe"))
    with h5py.File(path, "a") as file:
        del file[f"model_conf/{name}"]
        file[f"model_conf/{name}"] = value
    assert text in refused(path, "Moe")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("image_size", 0, "image_size is 0"),
        ("patch_size", -4, "patch_size -4"),
        ("image_size", 2**31 - 1, "Wrong position_embedding_size !"),
    ],
)
def test_images_that_do_not_fit_are_named(name, value, text, tmp_path):
    path = write_lightseq(tmp_path / "model.hdf5", checkpoint(spec_of("Vit")), conf_of("Vit"))
    with h5py.File(path, "a") as file:
        file[f"model_conf/{name}"][()] = value
    assert text in refused(path, "Vit")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"head_bias": False, "tied_head": False}, "its head is a separate array"),
        ({"logit_scale": 3.0}, "embeddings are multiplied by 1 and logits by 3"),
        ({"encoder": None}, "which consists of an encoder and a decoder"),
    ],
)
def test_what_the_format_cannot_say_is_not_written(change, text, tmp_path):
    spec = replace(spec_of("Transformer"), **change)
    with pytest.raises(SlipwayError, match=text) as caught:
        write_lightseq(tmp_path / "model.pb", checkpoint(spec), conf_of("Transformer"))
    assert caught.value.code is Code.UNSUPPORTED
    assert not list(tmp_path.iterdir())


def test_all_reasons_against_a_stack_are_reported_at_once(tmp_path):
    spec = spec_of("Transformer")
    odd = replace(spec.encoder, head_size=3, attention_scale=0.1, gated=True, embedding_norm=True, position_rows=2)
    with pytest.raises(SlipwayError) as caught:
        write_lightseq(
            tmp_path / "model.pb", checkpoint(replace(spec, encoder=odd)), conf_of("Transformer", beam_size=3)
        )
    for text in (
        "beam_size 3",
        "2 heads of 3 are not as wide as the model (8)",
        "attention is scaled by 0.1",
        "gated",
        "max_step is 6, but there are 2 positions",
        "pre-norm layers need exactly one more norm, after the last layer",
    ):
        assert text in caught.value.message
