"""The two converters, on real T5 models made by transformers: the contents of the files, and refused models."""

from __future__ import annotations

import configparser

import numpy as np
import pytest
import torch

from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.cli import huggingface_t5_ckpt_convert, t5_ckpt_convert
from slipway.errors import SlipwayError

ENCODER_LAYERS, DECODER_LAYERS = 2, 3


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two real T5 models and their directories: the first T5, and v1.1 with a head of its own."""
    from transformers import T5Config, T5ForConditionalGeneration

    made = {}
    for name, figures in (("t5", {}), ("gated", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})):
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=40,
            d_model=16,
            d_kv=6,  # times the heads it is not d_model, as in t5-3b
            d_ff=20,
            num_layers=ENCODER_LAYERS,
            num_decoder_layers=DECODER_LAYERS,
            num_heads=4,
            relative_attention_num_buckets=8,
            **figures,
        )
        model = T5ForConditionalGeneration(config).eval()
        if name == "gated":
            model.lm_head.weight = torch.nn.Parameter(torch.randn(40, 16))
            model.config.tie_word_embeddings = False
        directory = tmp_path_factory.mktemp(name)
        model.save_pretrained(directory)
        made[name] = (model, directory)
    return made


def arguments(directory, target, ways, *more):
    return ["-o", str(target), "-i", str(directory), "-i_g", str(ways), *more]


def ini(directory):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(directory / "config.ini")
    return parser


def stored(directory, name, ways, shape, *, axis, dtype="<f4"):
    parts = [np.fromfile(directory / f"{name}.{rank}.bin", dtype) for rank in range(ways)]
    own = list(shape)
    own[axis] //= ways
    return np.concatenate([part.reshape(own) for part in parts], axis=axis)


def file_count(ways, *, head, gated):
    """Return how many files FasterTransformer's `huggingface_t5_ckpt_convert.py` writes."""
    layers = ENCODER_LAYERS + DECODER_LAYERS
    attention = (6 * ways + 2) * ENCODER_LAYERS + (8 * ways + 3) * DECODER_LAYERS
    return attention + 2 * ways + 2 + 2 + head + (ways * layers if gated else 0)


@pytest.mark.capability("0.1")
@pytest.mark.parametrize("ways", [1, 2, 4])
def test_the_first_converter_writes_the_files_and_the_keys_of_the_original(models, tmp_path, capsys, ways):
    model, directory = models["t5"]
    options = ["-saved_dir", str(tmp_path), "-in_file", str(directory), "-infer_gpu_num", str(ways)]
    assert t5_ckpt_convert.run(options) == 0
    target = tmp_path / f"{ways}-gpu"
    assert len(list(target.glob("*.bin"))) == file_count(ways, head=False, gated=False)
    assert len(list(target.iterdir())) == len(list(target.glob("*.bin"))) + 1
    sections = ini(target)
    assert sections.sections() == ["encoder", "decoder"]
    for name, config in (("encoder", model.encoder.config), ("decoder", model.decoder.config)):
        for key, value in config.to_dict().items():
            if key not in ("_name_or_path", "architectures", "dtype"):  # set by the file, not by the model in memory
                assert sections[name][key.lower()] == str(value)
        assert "weight_data_type" not in sections[name]
    assert sections["decoder"]["decoder_start_token_id"] == "0"  # noqa: S105
    printed = capsys.readouterr().out
    assert f"infer_gpu_num: {ways}" in printed
    assert "(h:m:s) to convert the model" in printed


def test_the_formula_of_the_file_count_gives_the_known_figures_of_t5_base_and_t5_small():
    from dataclasses import replace

    from slipway.checkpoints.fastertransformer.sections import WriteOptions, describe_sections
    from slipway.checkpoints.fastertransformer.writer import _files
    from tests.kits.fastertransformer_checkpoints import T5

    for layers, beta, count in ((12, True, 234), (12, False, 235), (6, True, 120), (6, False, 121)):
        stack = replace(T5.encoder, layers=layers)
        spec, options = replace(T5, encoder=stack, decoder=stack), WriteOptions(beta=beta)
        assert len(_files(spec, describe_sections(spec, options)[1], options)) == count


@pytest.mark.capability("0.2")
def test_the_current_converter_halves_files_over_two_ranks_in_fp16(models, tmp_path):
    directory = models["t5"][1]
    run = huggingface_t5_ckpt_convert.run
    assert run(arguments(directory, tmp_path, 1)) == 0
    long = [
        "-saved_dir",
        tmp_path,
        "-in_file",
        directory,
        "-inference_tensor_para_size",
        2,
        "-weight_data_type",
        "fp16",
    ]
    assert run([*map(str, long), "-processes", "2"]) == 0
    one, two = tmp_path / "1-gpu", tmp_path / "2-gpu"
    assert len(list(one.glob("*.bin"))) == file_count(1, head=True, gated=False)
    assert len(list(two.glob("*.bin"))) == file_count(2, head=True, gated=False)
    for path in one.glob("*.bin"):
        if path.name.endswith(".0.bin"):
            for rank in range(2):
                half = two / path.name.replace(".0.bin", f".{rank}.bin")
                assert half.stat().st_size * 4 == path.stat().st_size  # half the elements, half the bytes of each
        else:
            assert (two / path.name).stat().st_size * 2 == path.stat().st_size
    sections = ini(two)
    assert dict(sections["structure"]) == {
        "t5_with_bias": "false",
        "use_gated_activation": "false",
        "position_embedding_type": "relative",
    }
    for name in ("encoder", "decoder"):
        assert sections[name]["weight_data_type"] == "fp16"
        assert sections[name]["relative_attention_num_buckets_or_max_pos_seq_len"] == "8"
        assert "relative_attention_num_buckets" not in sections[name]


@pytest.mark.capability("0.3")
@pytest.mark.parametrize("ways", [1, 2])
def test_axes_lie_as_the_original_stores_them(models, tmp_path, ways):
    model, directory = models["t5"]
    huggingface_t5_ckpt_convert.run(arguments(directory, tmp_path, ways))
    target, state = tmp_path / f"{ways}-gpu", {name: value.numpy() for name, value in model.state_dict().items()}
    table = state["shared.weight"]
    np.testing.assert_array_equal(np.fromfile(target / "shared.weight_T.bin", "<f4").reshape(40, 16), table)
    np.testing.assert_array_equal(np.fromfile(target / "shared.weight.bin", "<f4").reshape(16, 40), table.T)
    np.testing.assert_array_equal(np.fromfile(target / "lm_head.weight.bin", "<f4").reshape(40, 16), table)
    for layer in range(DECODER_LAYERS):
        prefix = f"decoder.block.{layer}.layer.0.SelfAttention"
        fused = stored(target, f"{prefix}.qkv.weight", ways, (16, 3, 24), axis=-1)
        wanted = np.stack([state[f"{prefix}.{part}.weight"].T for part in "qkv"], axis=1)
        np.testing.assert_array_equal(fused, wanted)
    for name, shape, axis in (
        ("encoder.block.1.layer.0.SelfAttention.k.weight", (16, 24), -1),
        ("encoder.block.1.layer.0.SelfAttention.o.weight", (24, 16), 0),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (4, 8), 0),
        ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (4, 8), 0),
        ("decoder.block.2.layer.1.EncDecAttention.v.weight", (16, 24), -1),
        ("decoder.block.2.layer.2.DenseReluDense.wi.weight", (16, 20), -1),
        ("decoder.block.2.layer.2.DenseReluDense.wo.weight", (20, 16), 0),
    ):
        np.testing.assert_array_equal(stored(target, name, ways, shape, axis=axis), state[name].T, err_msg=name)


def test_a_gated_model_keeps_both_factors_and_its_own_unscaled_head(models, tmp_path):
    model, directory = models["gated"]
    huggingface_t5_ckpt_convert.run(arguments(directory, tmp_path, 2))
    target, state = tmp_path / "2-gpu", model.state_dict()
    assert len(list(target.glob("*.bin"))) == file_count(2, head=True, gated=True)
    for mine, theirs in (("wi", "wi_0"), ("wi2", "wi_1")):
        name = "decoder.block.2.layer.2.DenseReluDense"
        values = stored(target, f"{name}.{mine}.weight", 2, (16, 20), axis=-1)
        np.testing.assert_array_equal(values, state[f"{name}.{theirs}.weight"].numpy().T)
    head = np.fromfile(target / "lm_head.weight.bin", "<f4").reshape(40, 16)
    np.testing.assert_array_equal(head, state["lm_head.weight"].numpy())
    assert ini(target)["structure"]["use_gated_activation"] == "1"
    spec = read_fastertransformer(target, kind="T5").spec
    assert (spec.tied_head, spec.logit_scale, spec.encoder.gated) == (False, 1.0, True)


@pytest.mark.parametrize("name", ["t5", "gated"])
@pytest.mark.parametrize("ways", [1, 2, 4])
def test_what_is_converted_reads_as_what_transformers_saved(models, tmp_path, caplog, name, ways):
    directory = models[name][1]
    huggingface_t5_ckpt_convert.run(arguments(directory, tmp_path, ways))
    read, saved = read_fastertransformer(tmp_path / f"{ways}-gpu", kind="T5"), read_huggingface(directory)
    assert read.spec.encoder == saved.spec.encoder
    assert read.spec.decoder == saved.spec.decoder
    assert read.spec.logit_scale == saved.spec.logit_scale
    assert set(read.weights) == set(saved.weights)
    for array in saved.weights:
        np.testing.assert_array_equal(read.weights[array], saved.weights[array], err_msg=array)
    assert not caplog.records


def test_the_encoder_alone_has_an_empty_decoder_section(models, tmp_path):
    huggingface_t5_ckpt_convert.run(arguments(models["t5"][1], tmp_path, 1, "--encoder_only"))
    target = tmp_path / "1-gpu"
    assert dict(ini(target)["decoder"]) == {}
    assert len(list(target.glob("*.bin"))) == 8 * ENCODER_LAYERS + 1 + 1 + 2
    assert read_fastertransformer(target, kind="T5-Encoder").spec.decoder is None


@pytest.mark.parametrize(
    ("command", "name", "more", "message"),
    [
        (t5_ckpt_convert, "gated", [], "first layout cannot represent this model: tied_head"),
        (huggingface_t5_ckpt_convert, "t5", ["-i_g", "3"], "3 ranks cannot share the 4 heads"),
        (huggingface_t5_ckpt_convert, "t5", ["-i_g", "0"], "not 0"),
        (huggingface_t5_ckpt_convert, "t5", ["-i", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_converted_is_said_and_nothing_is_written(models, tmp_path, command, name, more, message):
    with pytest.raises(SlipwayError, match=message):
        command.run([*arguments(models[name][1], tmp_path / "out", 1), *more])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["-o", "-i", "-i_g"])
def test_the_three_options_of_the_original_are_required(models, tmp_path, option, capsys):
    given = arguments(models["t5"][1], tmp_path, 1)
    at = given.index(option)
    with pytest.raises(SystemExit) as raised:
        t5_ckpt_convert.run(given[:at] + given[at + 2 :])
    assert raised.value.code == 1
    assert option in capsys.readouterr().err


def test_verbose_names_each_file(models, tmp_path, caplog):
    caplog.set_level("DEBUG", "slipway.checkpoints")
    huggingface_t5_ckpt_convert.run(
        arguments(models["t5"][1], tmp_path, 2, "--verbose", "--encoder_only", "--in-process")
    )
    assert "encoder.block.0.layer.0.SelfAttention.q.weight.1.bin: fp32 [16, 12]" in caplog.text
