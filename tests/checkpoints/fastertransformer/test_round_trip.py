"""What is written is read back: every family and variant, split any number of ways, in every data type."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.errors import SlipwayError
from slipway.transformer.spec import Activation, Norm, Positions
from slipway.transformer.weights import Array, Weights
from tests.kits.fastertransformer_checkpoints import (
    BERT,
    GPT,
    T5,
    assert_same,
    gated,
    random_checkpoint,
    with_bias,
    with_stacks,
)

IA3 = with_stacks(T5, adapter_tasks=3)
PROMPTS = replace(T5, prompts=(("sentiment", 3), ("squad", 5)), prompt_start_id=30)


def written(tmp_path, spec, **options):
    checkpoint = random_checkpoint(spec)
    write_fastertransformer(checkpoint, tmp_path / "model", WriteOptions(**options))
    return checkpoint


@pytest.mark.parametrize("ways", [1, 2, 4])
@pytest.mark.parametrize("data_type", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("T5", T5),
        ("T5", gated()),
        ("T5", with_bias()),
        ("T5", gated(with_bias())),
        ("T5", IA3),
        ("T5", PROMPTS),
        ("GPT", GPT),
        ("GPT", replace(GPT, tied_head=False)),
        ("GPT", replace(GPT, prompts=(("squad", 2),), prompt_start_id=20)),
        ("bert", BERT),
    ],
    ids=["t5", "gated", "bias", "gated-bias", "ia3", "prompts", "gpt", "gpt-own-head", "gpt-prompts", "bert"],
)
def test_a_written_checkpoint_reads_as_the_same_arrays(tmp_path, caplog, kind, spec, data_type, ways):
    checkpoint = written(tmp_path, spec, data_type=data_type, ways=ways)
    assert_same(read_fastertransformer(tmp_path / "model", kind=kind), checkpoint)
    assert not caplog.records  # every key and every file is read


def test_bfloat16_files_read_as_they_were_rounded(tmp_path):
    import ml_dtypes

    checkpoint = written(tmp_path, T5, data_type="bf16", ways=2)
    read = read_fastertransformer(tmp_path / "model", kind="T5")
    for name, values in checkpoint.weights.items():
        assert read.weights[name].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(read.weights[name], values.astype(ml_dtypes.bfloat16), err_msg=name)


def test_the_encoder_of_a_whole_t5_can_be_read_alone_without_a_warning(tmp_path, caplog):
    checkpoint = written(tmp_path, IA3, ways=2)
    read = read_fastertransformer(tmp_path / "model", kind="T5-Encoder")
    assert read.spec.encoder == checkpoint.spec.encoder
    assert read.spec.decoder is None
    assert not [name for name in read.weights if not name.startswith("encoder.")]
    assert not caplog.records


def test_an_encoder_written_alone_reads_as_an_encoder_only(tmp_path):
    checkpoint = written(tmp_path, T5, encoder_only=True)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert not [name for name in names if name.startswith(("decoder", "lm_head"))]
    read = read_fastertransformer(tmp_path / "model", kind="T5-Encoder")
    np.testing.assert_array_equal(
        read.weights["encoder.embedding.tokens"], checkpoint.weights["encoder.embedding.tokens"]
    )
    with pytest.raises(SlipwayError, match="T5-Encoder"):
        read_fastertransformer(tmp_path / "model", kind="T5")


def test_the_first_layout_reads_as_the_same_arrays_and_ties_the_head(tmp_path):
    checkpoint = written(tmp_path, T5, beta=True)
    assert not (tmp_path / "model" / "lm_head.weight.bin").exists()
    assert_same(read_fastertransformer(tmp_path / "model", kind="T5"), checkpoint)


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"beta": True}, gated(), "tied_head is False"),
        ({"beta": True}, with_bias(), "first layout cannot represent"),
        ({"beta": True, "data_type": "fp16"}, T5, "only supports a whole T5 in fp32"),
        ({"beta": True}, GPT, "whole T5"),
        ({"data_type": "int8"}, T5, "'int8' is not one of fp32, fp16, bf16"),
        ({"ways": 3}, T5, "3 ranks cannot share the 4 heads"),
        ({"ways": 0}, T5, "not 0"),
        ({}, with_stacks(T5, pre_norm=False), "encoder.pre_norm is False"),
        ({}, with_stacks(T5, activation=Activation.SILU, norm=Norm.LAYER), "encoder.norm"),
    ],
)
def test_what_the_format_cannot_say_is_refused_and_nothing_is_written(tmp_path, options, spec, message):
    with pytest.raises(SlipwayError, match=message):
        written(tmp_path, spec, **options)
    assert not list(tmp_path.iterdir())


def test_a_tied_head_that_was_written_besides_is_one_array_in_memory(tmp_path):
    written(tmp_path, T5)
    assert (tmp_path / "model" / "lm_head.weight.bin").is_file()
    assert read_fastertransformer(tmp_path / "model", kind="T5").spec.tied_head


def test_a_head_that_was_changed_is_the_head_and_logits_are_still_scaled(tmp_path):
    written(tmp_path, T5)
    path = tmp_path / "model" / "lm_head.weight.bin"
    head = np.fromfile(path, "<f4") + 1
    head.tofile(path)
    read = read_fastertransformer(tmp_path / "model", kind="T5")
    assert not read.spec.tied_head
    assert read.spec.logit_scale == T5.logit_scale
    np.testing.assert_array_equal(read.weights["head.weight"].ravel(), head)


def test_tables_of_positions_that_differ_are_refused_as_there_is_one_file(tmp_path):
    checkpoint = random_checkpoint(with_bias())
    other = Array((24, 12), lambda: np.zeros((24, 12), np.float32))
    names = checkpoint.weights.shapes
    arrays = {name: Array(names[name], lambda name=name: checkpoint.weights[name]) for name in names}
    weights = Weights(arrays | {"decoder.embedding.positions": other})
    with pytest.raises(SlipwayError, match=r"one file for encoder\.embedding\.positions and"):
        write_fastertransformer(replace(checkpoint, weights=weights), tmp_path / "model", WriteOptions())
    assert not list(tmp_path.iterdir())


def test_values_beyond_fp16_are_refused_by_name_and_nothing_is_left(tmp_path):
    checkpoint = random_checkpoint(T5)
    checkpoint.weights["decoder.final_norm.scale"][0] = 1e6
    with pytest.raises(SlipwayError, match=r"'decoder\.final_norm\.scale' contains 1e\+06"):
        write_fastertransformer(checkpoint, tmp_path / "a" / "model", WriteOptions(data_type="fp16"))
    assert not list(tmp_path.iterdir())


def test_an_earlier_checkpoint_is_replaced_whole(tmp_path):
    written(tmp_path, T5, ways=4)
    checkpoint = written(tmp_path, gated(), ways=1)
    assert not list((tmp_path / "model").glob("*.3.bin"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert_same(read_fastertransformer(tmp_path / "model", kind="T5"), checkpoint)


def test_a_directory_that_holds_something_else_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.doc").write_text("mine")
    with pytest.raises(SlipwayError, match=r"thesis\.doc"):
        written(tmp_path, T5)
    assert (tmp_path / "model" / "thesis.doc").read_text() == "mine"


# A full disk, played by a limit on the size of files. It is the limit of a whole process, which writes its log too.
ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from slipway.errors import SlipwayError
from tests.checkpoints.fastertransformer.test_round_trip import T5, with_stacks, written

spec = with_stacks(T5, vocabulary=5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    written(Path(sys.argv[1]), spec)
except SlipwayError as error:
    print(error.code.name, error.message)
"""


def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path / "deep")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert re.match(r"INVALID_ARG cannot write the checkpoint .*: File too large", done.stdout), done.stderr
    assert not list(tmp_path.iterdir())


def test_positions_of_opt_and_norms_after_each_block_are_read(tmp_path):
    decoder = replace(GPT.decoder, activation=Activation.RELU, pre_norm=False, final_norm=False, embedding_norm=True)
    checkpoint = written(tmp_path, replace(GPT, decoder=decoder))
    read = read_fastertransformer(tmp_path / "model", kind="GPT")
    assert read.spec.decoder.positions is Positions.TABLE
    assert_same(read, checkpoint)


def test_a_bias_that_megatrons_converter_leaves_in_fp32_is_read_as_that(tmp_path):
    checkpoint = written(tmp_path, with_bias(), data_type="fp16")
    for name in ("shared.bias.bin", "decoder.final_layer_norm.bias.bin"):
        path = tmp_path / "model" / name
        np.fromfile(path, "<f2").astype("<f4").tofile(path)
    assert_same(read_fastertransformer(tmp_path / "model", kind="T5"), checkpoint)
