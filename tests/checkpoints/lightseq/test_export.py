"""Exports: the numbers and settings of Hugging Face and fairseq models arrive unchanged in a LightSeq file."""

from __future__ import annotations

from argparse import Namespace
from math import log, sqrt

import numpy as np
import pytest
import torch

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.checkpoints.lightseq.export import SOURCES, ExportOptions, export
from slipway.checkpoints.lightseq.reader import read_lightseq
from slipway.errors import SlipwayError
from tests.kits.huggingface_models import save_model

FAMILIES = {
    "hf-bart": ("bart", {"encoder_ffn_dim": 24, "encoder_attention_heads": 4}),
    "hf-bert": ("bert", {}),
    "hf-gpt2": ("gpt2", {}),
    "hf-t5": ("t5", {"d_kv": 8}),
    "hf-mt5": ("mt5", {"d_kv": 8}),
    "hf-vit": ("vit", {}),
}
OUTPUTS = {
    "hf-bart": "lightseq_bart_base",
    "hf-bert": "lightseq_bert_base_uncased",
    "hf-gpt2": "lightseq_gpt2_base",
    "hf-t5": "lightseq_t5_base",
    "hf-mt5": "lightseq_mt5_base",
    "hf-vit": "lightseq_vit",
}


def saved(source, directory, **changes):
    family, settings = FAMILIES[source]
    save_model(family, directory, **(settings | changes))
    return directory


def expected_arrays(checkpoint, rows):
    """Return the expected contents for `checkpoint`: positions cut off, the first token type in every token."""
    found = dict(checkpoint.weights.items())
    types = found.pop("encoder.embedding.types", None)
    if types is not None:
        found["encoder.embedding.tokens"] = found["encoder.embedding.tokens"] + types[0]
    for name in found:
        if name.endswith("embedding.positions"):
            found[name] = found[name][:rows]
    if checkpoint.model_type == "mt5":  # the format has a head of its own even where that is the token table
        found.setdefault("head.weight", found["encoder.embedding.tokens"])
    return found


@pytest.mark.parametrize("suffix", [".pb", ".hdf5"])
@pytest.mark.parametrize("source", FAMILIES)
def test_every_array_of_a_hugging_face_model_arrives(source, suffix, tmp_path):
    directory = saved(source, tmp_path / "hf")
    exported = export(ExportOptions(directory, source, tmp_path / f"model{suffix}"))
    original = read_huggingface(directory)
    found = read_lightseq(exported.path, SOURCES[source].model_type)
    assert found.conf == exported.conf
    expected = expected_arrays(original, found.conf.max_step)
    weights = found.checkpoint.weights
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)
    one, other = found.checkpoint.spec, original.spec
    assert (one.shared_embedding, one.head_bias) == (other.shared_embedding, other.head_bias)
    assert one.logit_scale == pytest.approx(other.logit_scale)


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("hf-bart", ("beam_search", 4, 24, 50, 1.0, 1, 2, 2)),
        ("hf-gpt2", ("topk", 1, 24, 24, 0.0, 40, 0, 1)),
        ("hf-t5", ("beam_search", 1, 80, 50, 1.0, 0, 0, 1)),
        ("hf-mt5", ("beam_search", 1, 80, 50, 1.0, 0, 0, 1)),
    ],
)
def test_settings_are_those_of_lightseqs_scripts(source, settings, tmp_path):
    exported = export(ExportOptions(saved(source, tmp_path / "hf"), source, tmp_path / "model.hdf5"))
    found = read_lightseq(exported.path, SOURCES[source].model_type).conf
    assert (found.topk, found.topp) == (1, 0.75)
    assert (
        found.sampling_method,
        found.beam_size,
        found.max_step,
        found.extra_decode_length,
        found.length_penalty,
        found.padding_id,
        found.start_id,
        found.end_id,
    ) == settings


def test_the_maximum_length_is_the_scripts_or_the_requested_one(tmp_path):
    directory = saved("hf-bart", tmp_path / "hf", max_position_embeddings=64)
    assert export(ExportOptions(directory, output=tmp_path / "a.pb")).conf.max_step == 50
    assert export(ExportOptions(directory, output=tmp_path / "b.pb", max_step=60)).conf.max_step == 60
    with pytest.raises(SlipwayError, match="max_step is 65, but there are 64 positions"):
        export(ExportOptions(directory, output=tmp_path / "c.pb", max_step=65))


@pytest.mark.parametrize("source", FAMILIES)
def test_the_source_and_the_files_name_are_found_out(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported = export(ExportOptions(saved(source, tmp_path / "hf")))
    assert exported.path.name == f"{OUTPUTS[source]}.hdf5"
    assert exported.path.is_file()


@pytest.mark.parametrize(("source", "base"), [("hf-bart", "Transformer"), ("hf-bert", "Bert"), ("hf-gpt2", "Gpt")])
@pytest.mark.parametrize("suffix", [".pb", ".hdf5"])
def test_8_bit_exports_hold_nearly_the_same_model(source, base, suffix, tmp_path):
    directory = saved(source, tmp_path / "hf")
    exported = export(ExportOptions(directory, source, tmp_path / f"model{suffix}", ptq=True))
    found = read_lightseq(exported.path, f"Quant{base}").checkpoint
    original = read_huggingface(directory)
    expected = expected_arrays(original, exported.conf.max_step)
    scale = sqrt(16) if base == "Transformer" else 1.0
    for name, array in found.weights.items():
        wanted = (
            expected[name.replace("decoder.embedding.tokens", "encoder.embedding.tokens")]
            if (name == "decoder.embedding.tokens" and name not in expected)
            else expected[name]
        )
        if name.endswith("embedding.positions"):
            # BART's norm after the embedding undoes the common factor that the 8-bit engine insists on.
            np.testing.assert_allclose(array, wanted * scale, rtol=1e-6, err_msg=name)
        elif array.ndim == 2:
            assert np.corrcoef(array.reshape(-1), wanted.reshape(-1))[0, 1] > 0.99, name
        else:
            np.testing.assert_array_equal(array, wanted, err_msg=name)
    stack = found.spec.decoder or found.spec.encoder
    assert stack.embedding_scale == pytest.approx(scale)


def test_t5_cannot_be_exported_in_8_bits(tmp_path):
    with pytest.raises(SlipwayError, match="does not have an 8-bit T5"):
        export(ExportOptions(saved("hf-t5", tmp_path / "hf"), output=tmp_path / "a.pb", ptq=True))


def test_gpt2_searches_no_beams_and_says_so(tmp_path):
    directory = saved("hf-gpt2", tmp_path / "hf")
    with pytest.raises(SlipwayError, match="Unsupported sampling_method 'beam_search': Gpt has topk, topp, ppl"):
        export(ExportOptions(directory, generation_method="beam_search"))
    exported = export(ExportOptions(directory, output=tmp_path / "a.hdf5", generation_method="ppl"))
    assert read_lightseq(exported.path, "Gpt").conf.sampling_method == "ppl"


def test_gated_t5_is_pointed_to_mt5(tmp_path):
    save_model("t5-v1.1", tmp_path / "hf", d_kv=8)
    with pytest.raises(SlipwayError, match="name --source hf-mt5"):
        export(ExportOptions(tmp_path / "hf", "hf-t5"))
    exported = export(ExportOptions(tmp_path / "hf", "hf-mt5", tmp_path / "a.hdf5"))
    weights = read_lightseq(exported.path, "MT5").checkpoint.weights
    original = read_huggingface(tmp_path / "hf").weights
    name = "decoder.layers.0.feed_forward.gated.weight"
    np.testing.assert_array_equal(weights[name], original[name])


def test_heads_that_are_not_as_wide_as_the_model_cannot_be_exported(tmp_path):
    save_model("t5", tmp_path / "hf")
    with pytest.raises(SlipwayError, match="2 heads of 4 are not as wide as the model \\(16\\)"):
        export(ExportOptions(tmp_path / "hf", output=tmp_path / "a.pb"))


def test_a_wrong_source_names_the_right_one(tmp_path):
    directory = saved("hf-bert", tmp_path / "hf")
    with pytest.raises(SlipwayError, match="is a 'bert', which source 'hf-bart' does not read; name --source hf-bert"):
        export(ExportOptions(directory, "hf-bart"))
    with pytest.raises(SlipwayError, match="does not exist"):
        export(ExportOptions(tmp_path / "nowhere"))
    with pytest.raises(SlipwayError, match=r"source 'fairseq' is a \.pt file"):
        export(ExportOptions(directory, "fairseq"))
    with pytest.raises(SlipwayError, match="name one of hf-bart"):
        export(ExportOptions(tmp_path))


HIDDEN, INNER, VOCABULARY, PAD = 16, 24, 20, 1


def linear(name, out, into, generator):
    return {
        f"{name}.weight": torch.randn(out, into, generator=generator),
        f"{name}.bias": torch.randn(out, generator=generator),
    }


def norm(name, generator):
    return {f"{name}.{part}": torch.randn(HIDDEN, generator=generator) for part in ("weight", "bias")}


def fairseq_state(*, learned=False):
    """Return the state dict of a native fairseq Transformer, pre-norm, one encoder and two decoder layers."""
    generator = torch.Generator().manual_seed(3)
    state = {"encoder.version": torch.tensor([3.0]), "decoder.version": torch.tensor([3.0])}
    for name, layers in (("encoder", 1), ("decoder", 2)):
        state[f"{name}.embed_tokens.weight"] = torch.randn(VOCABULARY, HIDDEN, generator=generator)
        if learned:
            state[f"{name}.embed_positions.weight"] = torch.randn(30 + PAD + 1, HIDDEN, generator=generator)
        else:
            state[f"{name}.embed_positions._float_tensor"] = torch.zeros(1)
        for layer in range(layers):
            prefix = f"{name}.layers.{layer}"
            for attention in ("self_attn", "encoder_attn")[: 1 if name == "encoder" else 2]:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    state |= linear(f"{prefix}.{attention}.{part}", HIDDEN, HIDDEN, generator)
                state |= norm(f"{prefix}.{attention}_layer_norm", generator)
            state |= linear(f"{prefix}.fc1", INNER, HIDDEN, generator)
            state |= linear(f"{prefix}.fc2", HIDDEN, INNER, generator)
            state |= norm(f"{prefix}.final_layer_norm", generator)
        state |= norm(f"{name}.layer_norm", generator)
    state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]
    return state


ARGUMENTS = {
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_normalize_before": True,
    "decoder_normalize_before": True,
    "activation_fn": "relu",
}


def fairseq_file(tmp_path, state=None, **arguments):
    path = tmp_path / "checkpoint_best.pt"
    torch.save({"args": Namespace(**(ARGUMENTS | arguments)), "model": state or fairseq_state()}, path)
    return path


def sinusoid(position):
    """Return fairseq's position row, from the formula."""
    half = HIDDEN // 2
    angles = [position * np.exp(-log(10000) * index / (half - 1)) for index in range(half)]
    return np.array([*np.sin(angles), *np.cos(angles)])


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_fairseq_checkpoint_arrives(hdf5, tmp_path):
    path = fairseq_file(tmp_path)
    exported = export(ExportOptions(path, hdf5=hdf5))
    assert exported.path == tmp_path / f"checkpoint_best{'.hdf5' if hdf5 else '.pb'}"
    found = read_lightseq(exported.path, "Transformer")
    state, weights = fairseq_state(), found.checkpoint.weights
    conf = found.conf
    assert (conf.beam_size, conf.max_step, conf.extra_decode_length) == (4, 300, 50)
    assert conf.length_penalty == pytest.approx(0.6)
    assert (conf.start_id, conf.end_id, conf.padding_id, conf.topk, conf.topp) == (2, 2, 1, 1, 0.75)
    tokens = state["decoder.embed_tokens.weight"].numpy() * sqrt(HIDDEN)
    np.testing.assert_allclose(weights["decoder.embedding.tokens"], tokens, rtol=1e-6)
    assert found.checkpoint.spec.logit_scale == pytest.approx(1 / sqrt(HIDDEN))
    positions = weights["encoder.embedding.positions"]
    assert positions.shape == (300, HIDDEN)
    np.testing.assert_allclose(positions[7], sinusoid(7 + PAD + 1), atol=1e-5)
    assert not weights["head.bias"].any()
    key = "decoder.layers.1.encoder_attn.k_proj.weight"
    np.testing.assert_array_equal(weights["decoder.layers.1.cross_attention.key.weight"], state[key].numpy())
    np.testing.assert_array_equal(
        weights["encoder.layers.0.feed_forward.norm.bias"], state["encoder.layers.0.final_layer_norm.bias"].numpy()
    )
    np.testing.assert_array_equal(weights["decoder.final_norm.scale"], state["decoder.layer_norm.weight"].numpy())


def test_an_8_bit_fairseq_export_is_named_so_and_keeps_its_scale(tmp_path):
    exported = export(ExportOptions(fairseq_file(tmp_path), ptq=True))
    assert exported.path.name == "checkpoint_best_ptq.pb"
    spec = read_lightseq(exported.path, "QuantTransformer").checkpoint.spec
    assert (spec.decoder.embedding_scale, spec.logit_scale) == (pytest.approx(sqrt(HIDDEN)), 1.0)


def test_learned_positions_begin_after_the_paddings_row(tmp_path):
    state = fairseq_state(learned=True)
    exported = export(ExportOptions(fairseq_file(tmp_path, state)))
    assert exported.conf.max_step == 30
    positions = read_lightseq(exported.path, "Transformer").checkpoint.weights["encoder.embedding.positions"]
    np.testing.assert_array_equal(positions, state["encoder.embed_positions.weight"][PAD + 1 :].numpy())


class Trap:
    """What a checkpoint must not be able to run."""

    def __reduce__(self):
        return (print, ("code of a checkpoint ran",))


def test_code_in_a_fairseq_file_is_not_run(tmp_path, capsys):
    path = tmp_path / "checkpoint_best.pt"
    torch.save({"args": Trap(), "model": {}}, path)
    with pytest.raises(SlipwayError, match="without running its code"):
        export(ExportOptions(path))
    assert "ran" not in capsys.readouterr().out


def test_what_a_fairseq_file_lacks_or_has_too_much_is_all_named(tmp_path):
    state = fairseq_state()
    del state["encoder.layers.0.fc2.bias"], state["decoder.layer_norm.weight"]
    state["decoder.adapter.weight"] = torch.zeros(2)
    with pytest.raises(SlipwayError) as caught:
        export(ExportOptions(fairseq_file(tmp_path, state)))
    for text in (
        "missing: encoder.layers.0.fc2.bias",
        "unused: decoder.layer_norm.bias",
        "unused: decoder.adapter.weight",
    ):
        assert text in caught.value.message


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"encoder_normalize_before": False, "decoder_normalize_before": False}, "one more norm, after the embedding"),
        ({"activation_fn": "swish"}, "activation_fn is 'swish', expected relu, gelu"),
        ({"encoder_attention_heads": "two"}, "'encoder_attention_heads' is 'two'"),
        ({"encoder_attention_heads": 3}, "is 3, which does not divide 16"),
    ],
)
def test_a_fairseq_model_that_does_not_fit_is_refused(change, text, tmp_path):
    with pytest.raises(SlipwayError, match=text):
        export(ExportOptions(fairseq_file(tmp_path, **change)))


@pytest.mark.parametrize("content", [{"model": {}}, {"args": Namespace()}, [1], {"args": Namespace(), "model": {}}])
def test_files_that_are_not_fairseq_checkpoints_are_refused(content, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(SlipwayError, match=r"not a fairseq|not the fairseq|no state dict"):
        export(ExportOptions(path))
    path.write_bytes(b"noise")
    with pytest.raises(SlipwayError, match="not a fairseq checkpoint"):
        export(ExportOptions(path))
