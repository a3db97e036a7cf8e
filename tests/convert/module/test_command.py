"""`slipway convert-module` on the command line: the guide's command, its options, what it writes, keeps and refuses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.cli.main import main
from tests.convert.module.model import (
    IO_CONFIG,
    SCRIPT,
    answer,
    command,
    examples,
    guide_command,
    io_config,
    load_script,
    write_model,
)


def convert(*words: str) -> int:
    """Run the command without its child, which would import torch for each test."""
    return main(["convert-module", "--in-process", *words])


def read_config(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def run_onnx(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, inputs)[0]


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def one_line_error(capsys, *words: str) -> str:
    """Run a command that must fail, and return its one-line error."""
    assert convert(*words) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


def refused_usage(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        convert(*words)
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.fixture
def guide(tmp_path, monkeypatch):
    """The guide's directory with a tiny model in it, as the current directory."""
    checkpoint = tmp_path / "scratch/caption_classification/3/weights/fold0/model/model_0.pt"
    model = write_model(tmp_path / "triton_models/caption_classification", checkpoint=str(checkpoint))
    monkeypatch.chdir(tmp_path)
    return model


@pytest.mark.capability("3.1")
def test_the_guides_command_writes_its_tree_and_advises_what_to_do_without_tensorrt(guide, tmp_path, capsys):
    assert convert(*guide_command()) == 0
    assert files(tmp_path / "triton_models") == {
        "caption_classification/model_script.py",
        "deberta_large_onnx/1/model.onnx",
        "deberta_large_onnx/config.pbtxt",
    }
    printed = capsys.readouterr()
    assert "no TensorRT engine was built: the package 'tensorrt' is not installed" in printed.err
    assert "slipway convert scratch/model.onnx --name deberta_large" in printed.err
    assert "--engine openvino" in printed.err
    assert "running the code of 'triton_models/caption_classification/model_script.py'" in printed.out


@pytest.mark.capability("3.3")
def test_the_generated_config_matches_the_guide(guide, tmp_path):
    convert(*guide_command())
    expected = """
        name: "deberta_large_onnx" platform: "onnxruntime_onnx" max_batch_size: 8
        input [ { name: "input_ids" data_type: TYPE_INT64 dims: [ 128 ] },
                { name: "input_mask" data_type: TYPE_FP32 dims: [ 128 ] } ]
        output [ { name: "output" data_type: TYPE_FP32 dims: [ 1 ] } ]
        dynamic_batching { preferred_batch_size: [ 1, 2, 4, 8 ] max_queue_delay_microseconds: 100 }"""
    config = read_config(tmp_path / "triton_models/deberta_large_onnx/config.pbtxt")
    assert config == text_format.Parse(expected, model_config_pb2.ModelConfig())


DEFAULTS = {
    "--ckpt-path": None,
    "--device": "cpu",
    "--dynamic-batching": "off",
    "--engine-path": None,
    "--generate-onnx": "off",
    "--generate-triton-config": "off",
    "--generate-trt": "off",
    "--input-size": "(None, 128)",
    "--max-batch-size": "8",
    "--max-queue-delay": "100",
    "--memory-pool-limit": "1 << 30",
    "--model-class-name": None,
    "--model-name": None,
    "--model-script-path": None,
    "--onnx-path": None,
    "--overwrite": "off",
    "--preferred-batch-sizes": "the powers of two between 1 and --max-batch-size",
    "--triton-repo": None,
    "--precision": "fp32",
    "--use-fp16": "off",
    "--use-int8": "off",
    "--triton-inputs": "all that are used",
    "--model-io-config": None,
    "--serve-name": "none",
    "--allow-pickle": "off",
    "--max-memory": "that of the machine or cgroup",
    "--timeout-secs": "7200",
    "--allow-network": "off",
    "--in-process": "off",
}


@pytest.mark.capability("3.2")
def test_help_lists_every_option_with_its_default_and_warns_that_the_script_is_run(capsys):
    with pytest.raises(SystemExit) as caught:
        convert("--help")
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    entries = re.split(r"\n  (?=--)", printed.partition("\nmodel:")[2])
    defaults = {}
    for entry in entries[1:]:
        found = re.search(r"\(default:\s(.+?)\)(?:\n|$)", entry, re.DOTALL)
        defaults[entry.split()[0]] = " ".join(found[1].split()) if found else None
    assert defaults == DEFAULTS
    assert "RUNS THE SCRIPT" in printed


@pytest.mark.parametrize("option", [option for option, default in DEFAULTS.items() if default is None])
def test_a_required_option_that_is_missing_is_named(capsys, tmp_path, option):
    error = refused_usage(capsys, *command(tmp_path, **{option[2:].replace("-", "_"): None}))
    assert option in error


# Batches and inputs


def test_the_default_input_size_has_a_batch_of_one_and_any_batch_runs(tmp_path):
    model = write_model(tmp_path)
    assert convert(*command(tmp_path)) == 0
    for rows in (1, 3, 8):
        inputs = examples(rows)
        np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", inputs), answer(model, inputs), atol=1e-4)


def test_none_is_accepted_as_batch_of_the_input_size(tmp_path):
    write_model(tmp_path)
    assert convert(*command(tmp_path, input_size=["None", "128"])) == 0


def test_an_unused_input_is_left_out_of_the_config_and_named(tmp_path, capsys):
    write_model(tmp_path)
    assert convert(*command(tmp_path)) == 0
    assert "the model does not use input_token_type_ids" in capsys.readouterr().out
    config = read_config(tmp_path / "repo/m_onnx/config.pbtxt")
    assert [tensor.name for tensor in config.input] == ["input_ids", "input_mask"]


@pytest.mark.capability("3.9")
def test_the_listed_inputs_are_in_the_config_in_the_order_of_the_arguments(tmp_path):
    write_model(tmp_path)
    assert convert(*command(tmp_path, triton_inputs="input_mask,input_ids")) == 0
    config = read_config(tmp_path / "repo/m_onnx/config.pbtxt")
    assert [tensor.name for tensor in config.input] == ["input_ids", "input_mask"]


@pytest.mark.capability("3.9")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"triton_inputs": "input_ids,input_mask", "model_class_name": "UsesTypes"},
            "--triton-inputs omits 'input_token_type_ids', which the model needs",
        ),
        (
            {"triton_inputs": "input_ids,masc"},
            "'masc' is not an input in --model-io-config (inputs: input_ids, input_mask",
        ),
        ({"triton_inputs": "input_ids,input_mask,input_ids"}, "'input_ids' is given more than once"),
        (
            {"triton_inputs": "input_ids,input_mask,input_token_type_ids"},
            "lists 'input_token_type_ids', which the model does not use",
        ),
    ],
)
def test_inputs_that_the_model_needs_or_has_not_are_errors_that_name_them(tmp_path, capsys, changes, message):
    write_model(tmp_path)
    before = files(tmp_path)
    assert message in one_line_error(capsys, *command(tmp_path, **changes))
    assert files(tmp_path) == before


@pytest.mark.capability("3.10")
def test_preferred_batch_sizes_over_the_maximum_are_refused(tmp_path, capsys):
    error = one_line_error(capsys, *command(tmp_path, preferred_batch_sizes="1,8,16"))
    assert "--preferred-batch-sizes has 16, which exceeds --max-batch-size 8" in error


@pytest.mark.capability("3.10")
@pytest.mark.parametrize("words", [["1<<32"], ["1", "<<", "32"], ["1 << 32"], ["4294967296"]])
def test_the_memory_limit_may_be_a_number_or_a_shift_in_one_word_or_three(tmp_path, words):
    write_model(tmp_path)
    assert convert(*command(tmp_path, memory_pool_limit=words)) == 0


@pytest.mark.parametrize("words", [["much"], ["1<<99"], ["0"], ["-1"], ["2**30"], ["1", "<<"]])
def test_a_memory_limit_that_is_not_a_number_is_named(tmp_path, capsys, words):
    assert "--memory-pool-limit" in refused_usage(capsys, *command(tmp_path), "--memory-pool-limit", *words)


def test_preferred_batch_sizes_are_taken_as_given(tmp_path):
    write_model(tmp_path)
    assert convert(*command(tmp_path, dynamic_batching=True, preferred_batch_sizes="8,2", max_queue_delay=7)) == 0
    batching = read_config(tmp_path / "repo/m_onnx/config.pbtxt").dynamic_batching
    assert (list(batching.preferred_batch_size), batching.max_queue_delay_microseconds) == ([2, 8], 7)


def test_without_the_flag_there_is_no_dynamic_batching(tmp_path):
    write_model(tmp_path)
    convert(*command(tmp_path))
    assert not read_config(tmp_path / "repo/m_onnx/config.pbtxt").HasField("dynamic_batching")


ALL_TYPES = """
import torch


class DebertaLargeModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, *inputs):
        return self.scale * sum(each.to(torch.float32) for each in inputs), inputs[0]
"""


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"])
def test_every_dtype_can_be_an_input_and_an_output(tmp_path, dtype):
    write_model(tmp_path, script=ALL_TYPES)
    tensors = io_config(
        inputs=[("x", dtype, [4]), ("y", "float32", [4])], outputs=[("sum", "float32", [4]), ("same", dtype, [4])]
    )
    assert convert(*command(tmp_path, model_io_config=tensors)) == 0


def test_variable_dimensions_stay_variable(tmp_path):
    model = write_model(tmp_path)
    shapes = io_config(
        inputs=[("input_ids", "int64", [-1]), ("input_mask", "float32", [-1]), ("types", "float32", [-1])],
        outputs=[("output", "float32", [1])],
    )
    assert convert(*command(tmp_path, model_io_config=shapes, input_size=[2, 16])) == 0
    assert list(read_config(tmp_path / "repo/m_onnx/config.pbtxt").input[0].dims) == [-1]
    inputs = {name: array[:, :5] for name, array in examples(3).items()}
    np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", inputs), answer(model, inputs), atol=1e-4)


def test_ids_over_a_small_vocabulary_are_not_tried_again_and_again(tmp_path, capsys):
    write_model(tmp_path, script=SCRIPT.replace("1000", "10"))
    assert convert(*command(tmp_path)) == 0
    assert "example integers are below 2" in capsys.readouterr().out


def test_a_dictionary_of_outputs_is_taken_in_its_order(tmp_path):
    script = SCRIPT.replace("return torch.sigmoid(", "return {'output': torch.sigmoid(").replace("/ 8))", "/ 8))}")
    write_model(tmp_path, script=script)
    assert convert(*command(tmp_path)) == 0


# Twice


@pytest.mark.capability("3.7")
def test_a_second_run_keeps_and_reports_every_file_and_overwrite_writes_it_again(tmp_path, capsys):
    write_model(tmp_path)
    words = command(tmp_path)
    convert(*words)
    paths = [tmp_path / name for name in ("model.onnx", "repo/m_onnx/1/model.onnx", "repo/m_onnx/config.pbtxt")]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    capsys.readouterr()
    assert convert(*words) == 0
    printed = capsys.readouterr().out
    assert all(f"kept '{path}': it already exists; --overwrite replaces it" in printed for path in paths)
    assert "running the code" not in printed
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths] == before
    (tmp_path / "repo/m_onnx/labels.txt").write_text("mine")
    write_model(tmp_path, script=SCRIPT.replace("Linear(16, 16)", "Linear(16, 16, bias=False)"))
    assert convert(*words, "--overwrite", "--dynamic-batching") == 0
    after = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    assert all(new[0] > old[0] and new[1] != old[1] for new, old in zip(after, before, strict=True))
    assert (tmp_path / "repo/m_onnx/labels.txt").read_text() == "mine"


def test_the_onnx_file_stays_at_onnx_path_and_the_repository_has_a_copy(tmp_path):
    write_model(tmp_path)
    convert(*command(tmp_path))
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "repo/m_onnx/1/model.onnx").read_bytes()


def test_a_stage_that_was_not_requested_is_not_reported_as_kept(tmp_path, capsys):
    write_model(tmp_path)
    assert convert(*command(tmp_path, generate_triton_config=False)) == 0
    printed = capsys.readouterr().out
    assert "TensorRT engine: not requested" in printed
    assert "Triton configuration: not requested" in printed
    assert "already exists" not in printed
    assert files(tmp_path / "repo") == {"m_onnx/1/model.onnx"}


def test_the_config_alone_is_made_for_an_onnx_file_that_is_there(tmp_path, capsys):
    write_model(tmp_path)
    error = one_line_error(capsys, *command(tmp_path, generate_onnx=False))
    assert "there is nothing to configure: neither" in error
    convert(*command(tmp_path, generate_triton_config=False))
    assert convert(*command(tmp_path, generate_onnx=False)) == 0
    assert (tmp_path / "repo/m_onnx/config.pbtxt").is_file()


def test_a_model_of_other_dims_than_the_onnx_file_is_refused(tmp_path, capsys):
    write_model(tmp_path)
    convert(*command(tmp_path))
    other = command(tmp_path, model_io_config=IO_CONFIG.replace("[128]", "[64]"), model_name="other", overwrite=False)
    capsys.readouterr()
    assert convert(*other) == 1
    assert "[-1,64]" in capsys.readouterr().err
    assert not (tmp_path / "repo/other_onnx").exists()


# Mistakes


@pytest.mark.capability("3.8")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_io_config": "{'inputs'"}, "Invalid model IO configuration: JSON is malformed"),
        ({"model_io_config": '{"inputs": []}'}, "Invalid model IO configuration: Object missing required field"),
        (
            {"model_io_config": IO_CONFIG.replace("int64", "int46")},
            "'input_ids' has the unknown dtype 'int46'; known: bool, uint8, int8, int16, int32, int64, float16",
        ),
        (
            {"model_class_name": "Deberta"},
            "no model class 'Deberta'; its torch.nn.Module classes: DebertaLargeModel, UsesTypes",
        ),
        ({"ckpt_path": "/nowhere.pt"}, "--ckpt-path '/nowhere.pt' is not a file"),
        ({"model_script_path": "/nowhere.py"}, "--model-script-path '/nowhere.py' is not a file"),
        ({"generate_onnx": False, "generate_triton_config": False}, "nothing to do"),
        ({"max_batch_size": 0}, "--max-batch-size 0: must be 1 or more"),
        ({"max_queue_delay": -1}, "--max-queue-delay -1"),
        ({"model_name": "a/b"}, "--model-name: invalid model name 'a/b'"),
        ({"input_size": [8, 64]}, "no input in --model-io-config accepts it (input_ids [128]"),
        ({"use_fp16": True, "use_int8": True}, "either fp16 or int8"),
        ({"device": "cuda"}, "--device cuda: "),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, capsys, changes, message):
    write_model(tmp_path)
    before = files(tmp_path)
    assert message in one_line_error(capsys, *command(tmp_path, **changes))
    assert files(tmp_path) == before


@pytest.mark.capability("3.8")
def test_missing_and_unexpected_weights_are_named(tmp_path, capsys):
    import torch

    state = write_model(tmp_path).state_dict()
    state["hed.weight"] = state.pop("head.weight")
    torch.save(state, tmp_path / "model.pt")
    error = one_line_error(capsys, *command(tmp_path))
    assert "does not fit the class 'DebertaLargeModel': missing 'head.weight'; unexpected 'hed.weight'" in error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"shape":[1]', '"shape":[2]', "output 'output' FP32 [2] is declared, but forward returns FP32 [1, 1]"),
        ('"float32","shape":[1]', '"int64","shape":[1]', "output 'output' INT64 [1] is declared"),
        ('"int64"', '"float32"', "the model fails on an example input for --model-io-config with RuntimeError"),
    ],
)
def test_an_io_config_that_does_not_fit_the_model_is_refused(tmp_path, capsys, old, new, message):
    write_model(tmp_path)
    assert message in one_line_error(capsys, *command(tmp_path, model_io_config=IO_CONFIG.replace(old, new)))


BAKED = SCRIPT.replace("return torch.sigmoid(", "return int(len(ids)) * torch.sigmoid(")


def test_an_export_that_computes_something_else_is_refused_with_the_difference(tmp_path, capsys):
    write_model(tmp_path, script=BAKED)
    assert convert(*command(tmp_path)) == 1
    printed = capsys.readouterr()
    expected = r"refused: output 'output' on batch 8 differs from the reference by 3\.\d+ \(allowed: "
    assert re.search(expected, printed.err)
    assert "| batch 8 | output |" in printed.out
    assert not (tmp_path / "repo").exists()
    assert not (tmp_path / "model.onnx").exists()


def test_a_failed_run_leaves_what_was_there_and_no_traces(tmp_path):
    write_model(tmp_path)
    convert(*command(tmp_path))
    before = (tmp_path / "model.onnx").read_bytes()
    write_model(tmp_path, script=BAKED)
    listing = files(tmp_path)
    assert convert(*command(tmp_path), "--overwrite") == 1
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert files(tmp_path) == listing


# Precision


@pytest.mark.capability("3.11")
def test_fp16_halves_the_weights_and_keeps_inputs_outputs_and_accuracy(tmp_path, capsys):
    model = write_model(tmp_path)
    assert convert(*command(tmp_path, use_fp16=True)) == 0
    graph = onnx.load(tmp_path / "model.onnx").graph
    floats = {each.data_type for each in graph.initializer} - {onnx.TensorProto.INT64}
    assert floats == {onnx.TensorProto.FLOAT16}
    inputs = examples(5)
    found = run_onnx(tmp_path / "model.onnx", inputs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, answer(model, inputs), atol=1e-2)
    assert "fp16 ONNX compared with PyTorch:" in capsys.readouterr().out


@pytest.mark.capability("3.11")
def test_int8_quantises_the_matrices_and_reports_its_accuracy(tmp_path, capsys):
    model = write_model(tmp_path)
    assert convert(*command(tmp_path, use_int8=True)) == 0
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert "MatMulInteger" in {node.op_type for node in graph.node}
    inputs = examples(5)
    np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", inputs), answer(model, inputs), atol=5e-2)
    printed = capsys.readouterr()
    assert "int8 ONNX compared with PyTorch:" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_precision_names_the_number_type_as_it_does_for_every_conversion(tmp_path, precision, capsys):
    write_model(tmp_path)
    assert convert(*command(tmp_path, precision=precision)) == 0
    assert f"{precision} ONNX compared with PyTorch:" in capsys.readouterr().out
    kinds = {each.data_type for each in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds, onnx.TensorProto.INT8 in kinds) == (
        precision == "fp16",
        precision == "int8",
    )


def test_precision_and_the_switches_that_it_replaces_are_not_mixed(tmp_path, capsys):
    error = refused_usage(capsys, *command(tmp_path, precision="fp32", use_fp16=True))
    assert "argument --precision: not allowed with --use-fp16 or --use-int8" in error


def test_a_precision_that_changes_the_answers_is_refused_with_the_cosine(tmp_path, capsys):
    script = SCRIPT.replace("torch.sigmoid(self.head(hidden.sum(1) / 8))", "torch.sin(30 * self.head(hidden.sum(1)))")
    write_model(tmp_path, script=script)
    error = one_line_error(capsys, *command(tmp_path, use_int8=True))
    assert re.search(r"the int8 ONNX model is refused: .* with a cosine of -?0\.\d+ \(required: 0.999\)", error)
    assert not (tmp_path / "repo").exists()


# TensorRT


def test_tensorrt_as_the_only_stage_fails_without_it(tmp_path, capsys):
    write_model(tmp_path)
    words = command(tmp_path, generate_onnx=False, generate_triton_config=False, generate_trt=True)
    error = one_line_error(capsys, *words)
    assert "the package 'tensorrt' is not installed" in error
    assert "--engine openvino" in error


# Trust


EVIL = """
import pathlib


class Evil:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("{mark}"),))
"""


def test_a_checkpoint_that_needs_pickle_runs_nothing_until_it_is_allowed(tmp_path, capsys):
    import torch

    state = write_model(tmp_path).state_dict()
    (tmp_path / "evil.py").write_text(EVIL.format(mark=tmp_path / "mark"))
    torch.save({"state_dict": state, "hook": load_script(tmp_path / "evil.py").Evil()}, tmp_path / "model.pt")
    error = one_line_error(capsys, *command(tmp_path))
    assert "that only pickle can load" in error
    assert "add --allow-pickle if you trust" in error
    assert not (tmp_path / "mark").exists()
    assert convert(*command(tmp_path, allow_pickle=True)) == 0
    assert (tmp_path / "mark").exists()


def test_a_script_that_fails_or_exits_is_named_with_its_error(tmp_path, capsys):
    for text, message in {
        "import nowhere": "model_script.py' failed with ModuleNotFoundError: No module named 'nowhere'",
        "raise SystemExit(0)": "model_script.py' failed with SystemExit: 0",
        SCRIPT.replace("__init__(self)", "__init__(self, size)"): "'DebertaLargeModel()' of",
    }.items():
        write_model(tmp_path)
        (tmp_path / "model_script.py").write_text(text)
        assert message in one_line_error(capsys, *command(tmp_path))


def test_a_script_may_import_its_neighbours(tmp_path):
    write_model(tmp_path)
    (tmp_path / "neighbour_of_script.py").write_text(SCRIPT)
    (tmp_path / "model_script.py").write_text("from neighbour_of_script import DebertaLargeModel\n")
    assert convert(*command(tmp_path)) == 0


# The other name


@pytest.mark.capability("3.12")
def test_the_alias_is_an_ensemble_of_the_one_model(tmp_path):
    write_model(tmp_path)
    assert convert(*command(tmp_path, model_name="deberta_large", serve_name="deberta_large")) == 0
    assert files(tmp_path / "repo") == {
        "deberta_large/1/.gitkeep",
        "deberta_large/config.pbtxt",
        "deberta_large_onnx/1/model.onnx",
        "deberta_large_onnx/config.pbtxt",
    }
    config = read_config(tmp_path / "repo/deberta_large/config.pbtxt")
    assert [step.model_name for step in config.ensemble_scheduling.step] == ["deberta_large_onnx"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serve_name": "m_onnx"}, "--serve-name m_onnx is the name of the model itself"),
        ({"serve_name": "../m"}, "--serve-name: invalid model name"),
        ({"serve_name": "x", "generate_triton_config": False}, "add --generate-triton-config"),
    ],
)
def test_an_alias_that_cannot_be_is_refused(tmp_path, capsys, changes, message):
    assert message in one_line_error(capsys, *command(tmp_path, **changes))


@pytest.mark.parametrize("size", ["abc", "-1", "1.5"])
def test_an_example_size_that_is_none_is_refused_in_words(tmp_path, capsys, size):
    assert f"'{size}' is not a size" in refused_usage(capsys, *command(tmp_path), "--input-size", "8", size)


def test_a_repository_that_cannot_be_made_is_named(tmp_path, capsys):
    write_model(tmp_path)
    (tmp_path / "file").write_text("")
    error = one_line_error(capsys, *command(tmp_path, triton_repo=tmp_path / "file" / "repo"))
    assert f"cannot write to '{tmp_path}/file'" in error
