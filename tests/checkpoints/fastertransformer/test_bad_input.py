"""Checkpoints that are damaged, or that config.ini does not describe: one error that names everything, or a warning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.errors import Code, SlipwayError
from tests.kits.fastertransformer_checkpoints import BERT, GPT, T5, random_checkpoint


@pytest.fixture
def directory(tmp_path):
    write_fastertransformer(random_checkpoint(T5), tmp_path / "model", WriteOptions(ways=2))
    return tmp_path / "model"


def refusal(directory, kind="T5", **parameters):
    with pytest.raises(SlipwayError) as raised:
        read_fastertransformer(directory, kind=kind, parameters=parameters)
    return raised.value


def edit(directory, *changes):
    path = directory / "config.ini"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def test_all_missing_truncated_and_oversized_files_are_named_at_once(directory):
    (directory / "encoder.block.1.layer.0.SelfAttention.q.weight.1.bin").unlink()
    (directory / "shared.weight_T.bin").unlink()
    (directory / "decoder.final_layer_norm.weight.bin").write_bytes(b"\0" * 47)
    (directory / "encoder.final_layer_norm.weight.bin").write_bytes(b"")
    fused = "decoder.block.0.layer.0.SelfAttention.qkv.weight.0.bin"
    (directory / fused).write_bytes(b"\0" * 5000)
    error = refusal(directory)
    assert error.code is Code.INVALID_ARG
    assert error.message.splitlines()[1:] == [
        "  missing: shared.weight_T.bin, fp32 [20, 12]",
        "  missing: encoder.block.1.layer.0.SelfAttention.q.weight.1.bin, fp32 [12, 4]",
        "  truncated: encoder.final_layer_norm.weight.bin has 0 bytes, expected 48: fp32 [12]",
        f"  oversized: {fused} has 5000 bytes, expected 576: fp32 [12, 3, 4]",
        "  truncated: decoder.final_layer_norm.weight.bin has 47 bytes, expected 48: fp32 [12]",
    ]


def test_no_file_is_read_before_all_sizes_are_right(directory, monkeypatch):
    (directory / "decoder.final_layer_norm.weight.bin").write_bytes(b"")
    monkeypatch.setattr(np, "memmap", None)
    refusal(directory)


def test_nothing_is_mapped_until_an_array_is_asked_for(directory, monkeypatch):
    checkpoint = read_fastertransformer(directory, kind="T5")
    monkeypatch.setattr(np, "memmap", None)
    assert checkpoint.weights.elements > 0
    with pytest.raises(TypeError):
        _ = checkpoint.weights["encoder.final_norm.scale"]


def test_a_file_that_became_shorter_since_is_an_error_of_that_file(directory):
    checkpoint = read_fastertransformer(directory, kind="T5")
    (directory / "encoder.final_layer_norm.weight.bin").write_bytes(b"\0" * 8)
    with pytest.raises(SlipwayError, match=r"cannot read .*encoder\.final_layer_norm\.weight\.bin"):
        _ = checkpoint.weights["encoder.final_norm.scale"]


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("weight_data_type = fp32", "weight_data_type = fp16"), "is weight_data_type fp16 instead of fp32"),
        (("weight_data_type = fp32", "weight_data_type = bf16"), "is weight_data_type fp16 instead of fp32"),
    ],
)
def test_a_wrong_data_type_is_guessed_from_the_sizes(directory, change, hint):
    edit(directory, change)
    assert hint in refusal(directory).message


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("d_ff = 16", "d_ff = 32"), "truncated: encoder.block.0.layer.1.DenseReluDense.wi.weight.0.bin"),
        (("num_layers = 2", "num_layers = 3"), "missing: decoder.block.2.layer.2.DenseReluDense.wo.weight.1.bin"),
        (("vocab_size = 20", "vocab_size = 21"), "truncated: shared.weight_T.bin has 960 bytes, expected 1008"),
        (("num_heads = 4", "num_heads = 8"), "truncated: decoder.block.1.layer.1.EncDecAttention.k.weight.1.bin"),
        (("num_heads = 4", "num_heads = 3"), "2 ranks cannot share 3 of 'encoder.relative_bias'"),
        (("= false\npos", "= 1\npos"), "missing: encoder.block.0.layer.1.DenseReluDense.wi2.weight.0.bin"),
    ],
)
def test_sizes_that_do_not_match_are_named_with_the_files(directory, change, named):
    edit(directory, change)
    assert named in refusal(directory).message


def test_all_invalid_figures_are_named_at_once(directory):
    edit(
        directory,
        ("d_model = 12", "d_model = twelve"),
        ("num_layers = 2", "num_layers = 1000000000"),
        ("d_ff = 16", "d_ff = -16"),
        ("d_kv = 2\n", ""),
        ("layer_norm_epsilon = 1e-06", "layer_norm_epsilon = nan"),
        ("feed_forward_proj = relu", "feed_forward_proj = snake"),
        ("position_embedding_type = relative", "position_embedding_type = spiral"),
        ("t5_with_bias = false", "t5_with_bias = perhaps"),
    )
    message = refusal(directory).message
    for problem in (
        "[encoder] d_model is 'twelve', expected a whole number",
        "[decoder] num_layers is 1000000000, expected 1 to 4096",
        "[decoder] d_ff is -16, expected 1 to",
        "[encoder] d_kv is missing",
        "[encoder] layer_norm_epsilon is 'nan', expected a positive number",
        "[decoder] feed_forward_proj is 'snake', expected one of relu, gelu",
        "[structure] position_embedding_type is 'spiral', expected relative or absolute",
        "[structure] t5_with_bias is 'perhaps', expected true or false",
    ):
        assert message.count(problem) == 1, problem


def test_stacks_that_cannot_share_a_token_table_are_refused(directory):
    text = (directory / "config.ini").read_text()
    encoder, decoder = text.split("[decoder]")
    decoder = decoder.replace("vocab_size = 20", "vocab_size = 24").replace("d_model = 12", "d_model = 16")
    (directory / "config.ini").write_text(f"{encoder}[decoder]{decoder}")
    message = refusal(directory).message
    assert "[decoder] d_model is 16, the encoder's is 12" in message
    assert "[decoder] vocab_size is 24, the encoder's is 20" in message


def test_unknown_keys_and_files_get_a_warning_and_the_model_is_read(directory, caplog):
    edit(directory, ("[structure]", "[structure]\nflux_capacitor = on"), ("[decoder]", "[decoder]\nwarp = 9"))
    (directory / "encoder.block.7.layer.0.layer_norm.weight.bin").write_bytes(b"left over")
    read_fastertransformer(directory, kind="T5")
    assert "ignored: [decoder] warp, [structure] flux_capacitor" in caplog.text
    assert "the model does not use encoder.block.7.layer.0.layer_norm.weight.bin" in caplog.text


@pytest.mark.parametrize(
    "change", [("weight_data_type = fp32\n", ""), ("weight_data_type = fp32", "weight_data_type = x")]
)
def test_a_missing_or_unknown_data_type_is_fp32_with_a_warning(directory, caplog, change):
    edit(directory, change)
    read = read_fastertransformer(directory, kind="T5")
    assert read.weights["encoder.final_norm.scale"].dtype == np.float32
    assert len([record for record in caplog.records if "weight_data_type" in record.message]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "is not a text file"),
        (b"d_model = 12\n", "is not an INI file: File contains no section headers"),
        (b"[encoder\nd_model = 12", "is not an INI file"),
        (b"", r"has no section [encoder], only []"),
        (b"[gpt]\nhead_num = 4\n", r"has no section [encoder], only ['gpt']: is model_type T5 right?"),
        (b"[gptj]\nhead_num = 4\n", "rotary position embeddings (GPT-J), which is not supported"),
    ],
)
def test_a_config_that_is_not_an_ini_file_is_refused(directory, content, message):
    (directory / "config.ini").write_bytes(content)
    assert message in refusal(directory).message


def test_a_checkpoint_without_config_or_directory_is_refused_by_path(directory):
    (directory / "config.ini").unlink()
    assert f"cannot read '{directory / 'config.ini'}': No such file" in refusal(directory).message
    assert f"checkpoint directory '{directory / 'x'}' does not exist" in refusal(directory / "x").message


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("GPT-J", Code.UNSUPPORTED, "rotary position embeddings (GPT-J), which is not supported"),
        ("GPT-NeoX", Code.UNSUPPORTED, "rotary"),
        ("BART", Code.UNSUPPORTED, "Unknown model 'BART': model_type must be one of T5, T5-Encoder, GPT, bert, GPT-J"),
        ("GPT", Code.INVALID_ARG, "has no section [gpt], only ['encoder', 'decoder', 'structure']"),
        ("bert", Code.INVALID_ARG, "has no section [bert]"),
    ],
)
def test_models_that_the_network_cannot_compute_are_refused_by_what_they_need(directory, kind, code, message):
    error = refusal(directory, kind)
    assert error.code is code
    assert message in error.message


@pytest.mark.parametrize(
    ("spec", "kind", "line", "message"),
    [
        (T5, "T5", "[encoder]\nadapter_inter_size = 8", "adapters (adapter_inter_size)"),
        (T5, "T5", "[encoder]\nnum_experts = 8", "mixture of experts"),
        (T5, "T5", "[encoder]\nnum_tasks = 1\nprompt_learning_type = 2", "prefix prompts"),
        (GPT, "GPT", "[gpt]\nmodel_variant = bloom-pre", "ALiBi"),
        (GPT, "GPT", "[gpt]\nuse_attention_linear_bias = True", "ALiBi"),
        (GPT, "GPT", "[gpt]\nexpert_num = 4", "mixture of experts"),
        (GPT, "GPT", "[gpt]\nhas_adapters = True", "adapters"),
        (BERT, "bert", "[bert]\nposition_embedding_type = relative_key", "relative_key"),
    ],
)
def test_variants_without_a_counterpart_are_unsupported_by_name(tmp_path, spec, kind, line, message):
    write_fastertransformer(random_checkpoint(spec), tmp_path / "model", WriteOptions())
    text = (tmp_path / "model" / "config.ini").read_text().replace("position_embedding_type = absolute\n", "")
    (tmp_path / "model" / "config.ini").write_text(text.replace(line.split("\n", maxsplit=1)[0], line))
    error = refusal(tmp_path / "model", kind)
    assert error.code is Code.UNSUPPORTED
    assert message in error.message


def test_names_of_tasks_cannot_leave_the_directory_and_each_task_has_a_section(tmp_path):
    spec = replace(T5, prompts=(("squad", 3),), prompt_start_id=30)
    write_fastertransformer(random_checkpoint(spec), tmp_path / "model", WriteOptions())
    edit(tmp_path / "model", ("task_name = squad", "task_name = ../../squad"), ("num_tasks = 1", "num_tasks = 2"))
    message = refusal(tmp_path / "model").message
    assert "[task_0] task_name is '../../squad', expected a name without slashes" in message
    assert "[task_1] prompt_length is missing" in message


def test_a_stray_rank_does_not_change_over_how_many_the_model_is_split(directory, caplog):
    (directory / "encoder.block.0.layer.0.SelfAttention.q.weight.2.bin").write_bytes(b"\0" * 192)
    read_fastertransformer(directory, kind="T5")
    assert "the model does not use encoder.block.0.layer.0.SelfAttention.q.weight.2.bin" in caplog.text
