"""The pure parts (io configs, sizes, TensorRT's profiles, the comparison), and putting files in place."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cli.main import main
from slipway.convert.comparison import distance
from slipway.convert.module.gate import compare, figures_table, graph_examples, judge
from slipway.convert.module.io_config import parse_model_io
from slipway.convert.module.options import parse_batch_sizes, parse_bytes
from slipway.convert.module.placement import place
from slipway.convert.tensorrt import EngineSettings, InputProfile, profiles, refusal
from slipway.convert.thresholds import LIMITS
from slipway.errors import SlipwayError
from tests.convert.module.model import IO_CONFIG, SCRIPT, command, io_config, write_model

OUTPUTS = [("o", "float32", [1])]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "'inputs' is empty"),
        ([("o", "float32", [1])], "the name 'o' is used more than once"),
        ([("", "float32", [1])], "a tensor has an empty name"),
        ([("x", "string", [1])], r"unknown dtype 'string' \(PyTorch has no string tensors\); known: bool"),
        ([("x", "float32", [0])], r"'x' has the shape \[0\]"),
        ([("x", "float", [-2]), ("y", "double", [1])], "dtype 'float'.*shape.*dtype 'double'"),
    ],
)
def test_every_mistake_of_an_io_config_is_named_at_once(inputs, message):
    with pytest.raises(SlipwayError, match=f"^Invalid model IO configuration: .*{message}"):
        parse_model_io(io_config(inputs=inputs, outputs=OUTPUTS))


def test_unknown_fields_of_an_io_config_are_errors():
    with pytest.raises(SlipwayError, match="unknown field `shpae`"):
        parse_model_io(IO_CONFIG.replace('"shape":[1]', '"shpae":[1]'))


@given(st.integers(1, 2**20), st.integers(0, 30))
def test_a_shift_is_computed(number, shift):
    assert parse_bytes(f"{number}<<{shift}") == parse_bytes(f" {number} << {shift} ") == number << shift
    assert parse_bytes(str(number)) == number


@given(st.text())
def test_any_other_text_is_not_a_number_of_bytes(text):
    try:
        number = parse_bytes(text)
    except ValueError:
        return
    assert 0 < number <= 1 << 50


@pytest.mark.parametrize("text", ["1,,2", "a", "0", "-1", "1.5", "1 2"])
def test_anything_but_a_list_of_batch_sizes_is_refused(text):
    with pytest.raises(ValueError, match="is not a batch size"):
        parse_batch_sizes(text)


# TensorRT


def test_profiles_have_the_names_and_shapes_of_the_io_config():
    io = parse_model_io(io_config(inputs=[("ids", "int64", [-1]), ("image", "float32", [3, -1, 64])], outputs=OUTPUTS))
    assert profiles(io.inputs, most_rows=16, length=96) == (
        InputProfile("ids", (1, 1), (8, 96), (16, 96)),
        InputProfile("image", (1, 3, 1, 64), (8, 3, 96, 64), (16, 3, 96, 64)),
    )


def test_profiles_of_fixed_lengths_are_those_of_the_guide():
    (ids, *_) = profiles(parse_model_io(IO_CONFIG).inputs, most_rows=8, length=128)
    assert ids == InputProfile("input_ids", (1, 128), (8, 128), (8, 128))


def test_the_optimal_batch_does_not_exceed_the_largest():
    (ids, *_) = profiles(parse_model_io(IO_CONFIG).inputs, most_rows=4, length=128)
    assert (ids.optimal, ids.largest) == ((4, 128), (4, 128))


def test_sparse_weights_and_tf32_are_always_on_and_precisions_as_requested():
    assert EngineSettings((), 1, fp16=False, int8=False).flags == ("SPARSE_WEIGHTS", "TF32")
    assert EngineSettings((), 1, fp16=True, int8=True).flags == ("SPARSE_WEIGHTS", "TF32", "FP16", "INT8")


def test_the_cases_for_an_engine_come_from_the_onnx_file(tmp_path):
    write_model(tmp_path, script=SCRIPT.replace("1000", "10"))
    assert main(["convert-module", *command(tmp_path)]) == 0
    cases = graph_examples(tmp_path / "model.onnx", parse_model_io(IO_CONFIG), rows=[1, 8], length=128)
    assert [case.rows for case in cases] == [1, 8]
    assert cases[1].expected["output"].shape == (8, 1)


def test_a_machine_without_tensorrt_names_what_is_missing():
    assert "tensorrt" in refusal() or "GPU" in refusal()


# The gate


def test_nan_on_both_sides_is_equal_and_on_one_side_infinitely_different():
    numbers = np.array([1.0, np.nan, np.inf], np.float32)
    assert distance(numbers, numbers).absolute == 0
    assert distance(np.array([1.0, 2.0, np.inf], np.float32), numbers).absolute == np.inf
    assert distance(np.array([np.nan, np.nan, np.inf], np.float32), numbers).absolute == np.inf


@pytest.mark.parametrize("precision", LIMITS)
def test_what_is_not_a_number_in_the_candidate_alone_is_refused_in_every_precision(precision):
    with pytest.raises(SlipwayError, match="it is refused: output 'o' on c differs from the reference by inf"):
        judge("it", [compare("c", "o", np.array([1.0, np.nan]), np.array([1.0, 2.0]))], LIMITS[precision])


def test_another_shape_is_infinitely_far():
    assert distance(np.ones((1, 2)), np.ones((2, 1))).absolute == np.inf


def test_differences_are_relative_to_large_outputs():
    large = np.array([1e4, -2e4])
    judge("it", [compare("c", "o", large + 1.5, large)], LIMITS["fp32"])
    with pytest.raises(SlipwayError, match=r"differs from the reference by 3 \(allowed: 2.0e\+00\)"):
        judge("it", [compare("c", "o", large + 3, large)], LIMITS["fp32"])


def test_an_output_in_another_direction_is_refused_at_any_size():
    with pytest.raises(SlipwayError, match=r"with a cosine of 0\.000000 \(required: 0\.999\)"):
        judge("it", [compare("c", "o", np.array([1.0, 0.0]), np.array([0.0, 1.0]))], LIMITS["int8"])


# In place


def test_files_go_to_directories_that_are_there_and_to_those_that_are_not(tmp_path):
    source = tmp_path / "source"
    source.write_text("new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/a").write_text("old")
    (tmp_path / "old/mine").write_text("mine")
    targets = [tmp_path / name for name in ("old/a", "old/b/c", "x/y/z", "x/y/w")]
    place(dict.fromkeys(targets, source))
    assert [target.read_text() for target in targets] == ["new"] * 4
    assert (tmp_path / "old/mine").read_text() == "mine"
    assert not list(tmp_path.rglob(".slipway-*"))


def test_targets_may_lie_on_another_file_system(tmp_path):
    other = Path("/dev/shm")  # noqa: S108
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    source = tmp_path / "source"
    source.write_text("new")
    with TemporaryDirectory(dir=other) as directory:
        place({Path(directory) / "a": source, tmp_path / "b/c": source})
        assert (Path(directory) / "a").read_text() == (tmp_path / "b/c").read_text() == source.read_text() == "new"


def test_a_target_that_cannot_be_written_leaves_the_others_as_they_were(tmp_path):
    source = tmp_path / "source"
    source.write_text("new")
    (tmp_path / "a").write_text("old")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SlipwayError, match=r"cannot write .*file.*existing files are unchanged"):
        place({tmp_path / "a": source, tmp_path / "file/b": source})
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file", "source"]


def test_the_figures_fit_the_width_with_long_names():
    figures = [compare("batch 8", "an_output_" * 6, np.ones((2, 2)), np.ones((2, 2)))]
    printed = figures_table(figures, 80)
    assert max(map(len, printed.splitlines())) <= 80
    assert "cosine 1.000000" in printed
