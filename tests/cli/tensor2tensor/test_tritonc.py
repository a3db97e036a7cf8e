"""`tritonc`: number types, versions, nodes, the deadline of the first batch, and what it leaves alone."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.export import open_trained, write_export
from slipway.cli.main import main
from tests.kits.tensor2tensor_models import HPARAMS, VOCABULARY_NAME, write_data, write_trained

DOCUMENT = Path(__file__).parents[4] / "shared/sources/002_e925e40481703a20.txt"
pytestmark = pytest.mark.capability("2.15")


@pytest.fixture
def servo(tmp_path):
    """The path of a greedy model's export in the form of earlier versions."""
    trained, data = write_trained(tmp_path / "model", seed=3), write_data(tmp_path / "data")
    settings = DecodeHParams(beam_size=1, extra_length=4)
    write_export(tmp_path / "x/17", open_trained(trained, HPARAMS, data / VOCABULARY_NAME, settings, {}))
    return tmp_path / "x/export/Servo/1"


def compile_export(directory, *flags):
    return main(["tritonc", f"--savedmodel_directory={directory}", *flags])


def parameter(directory, name):
    config = (directory / "config.pbtxt").read_text()
    found = re.search(rf'key: "{name}"\s+value {{\s+string_value: "([^"]*)"', config)
    return found and found[1]


def test_a_greedy_model_is_measured_on_both_engines(servo):
    assert compile_export(servo) == 0
    document = json.loads((servo / "transformer/report.json").read_text())
    assert {each["label"] for each in document["candidates"]} == {"ctranslate2 float32", "torch float32"}
    assert {each["status"] for each in document["candidates"]} == {"chosen", "passed"}
    assert parameter(servo / "transformer", "first_batch_timeout") == "60000"


def test_number_type_name_and_version_are_those_of_the_flags(servo):
    flags = ("--model_name=ende", "--model_version=3", "--inference_input_dtype=INT8", "--engine=torch")
    assert compile_export(servo, *flags) == 0
    assert parameter(servo / "ende", "COMPUTE_TYPE") == "int8"
    assert sorted(path.name for path in (servo / "ende").iterdir() if path.is_dir()) == ["3", "warmup"]
    assert not (servo / "transformer").exists()


@pytest.mark.parametrize(("word", "compute_type"), [("BF16", "bfloat16"), ("FP16", "float16")])
def test_half_precision_is_compiled_or_refused_with_the_reason(servo, capsys, word, compute_type):
    if compile_export(servo, f"--inference_input_dtype={word}") == 0:
        assert parameter(servo / "transformer", "COMPUTE_TYPE") == compute_type
    else:
        assert re.search("this CPU has no|no candidate", capsys.readouterr().err)
        assert not servo.exists()


def test_a_node_that_exists_has_to_have_its_shape(servo, capsys):
    node = ("--input_node_name=inputs", "--engine=torch")
    assert compile_export(servo, *node, "--input_node_shape=1:1:32768:1") == 1
    assert "--input_node_shape is 1:1:32768:1, but 'inputs' has the shape [-1, -1]" in capsys.readouterr().err
    assert not servo.exists()
    assert compile_export(servo, *node, "--input_node_shape=1:64") == 0
    assert "the model has no input" not in capsys.readouterr().err


def test_nodes_that_do_not_exist_are_warned_about(servo, capsys):
    flags = ("--input_node_name=a/b", "--output_node_name=c/d", "--output_layer_names=outputs,e/f", "--engine=torch")
    assert compile_export(servo, *flags, "--inference_output_dtype=FP16") == 0
    warnings = capsys.readouterr().err
    assert "--input_node_name: the model has no input 'a/b', only INPUT_TEXT, inputs, input" in warnings
    assert "--output_node_name: the model has no output 'c/d', only OUTPUT_TEXT, outputs, scores" in warnings
    assert "--output_layer_names: the model has no 'e/f'; the names" in warnings
    assert "--inference_output_dtype=FP16 is only recorded" in warnings
    assert parameter(servo / "transformer", "output_layer_names") == "outputs,e/f"


def test_an_earlier_compilation_is_replaced_but_nothing_else(servo, capsys):
    assert compile_export(servo, "--engine=torch") == 0
    assert compile_export(servo, "--engine=torch", "--first_batch_timeout=50000") == 0
    assert parameter(servo / "transformer", "first_batch_timeout") == "50000"
    (servo / "transformer/report.json").unlink()
    assert compile_export(servo, "--engine=torch") == 1
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--input_node_shape=1:x",), "expected sizes such as 1:1:32768:1"),
        (("--inference_input_dtype=FP8",), "expected one of FP32, FP16, BF16, INT8"),
        (("--first_batch_timeout=0",), "out of bound"),
        (("--model_nam=x",), "did you mean --model_name?"),
    ],
)
def test_wrong_usage_exits_with_2(servo, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        compile_export(servo, *flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_directory_without_an_export_is_refused_with_what_to_do(tmp_path, capsys):
    assert compile_export(tmp_path / "y/export/Servo/1") == 1
    assert "t2t-exporter writes one" in capsys.readouterr().err


def documents_command(name):
    """Return the words of a command of the document, up to its values from the environment."""
    text = DOCUMENT.read_text(encoding="utf-8")
    start = text.index(f"\n{name} --inference") + 1
    return shlex.split(text[start : text.index("\n\n", start)].replace("\\\n", " "))


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the document is not beside the project")
def test_the_documents_own_command_compiles_with_warnings(servo, capsys):
    root = servo.parents[3]
    (root / "x").rename(root / "triton_infer_model")
    words = [word.replace("${TRITON_DATA_DIR}", str(root)) for word in documents_command("tritonc")]
    assert main(words) == 0
    assert capsys.readouterr().err.count("EnDeTransformer/transformer/") == 3
    assert (root / "triton_infer_model/export/Servo/1/transformer/1/model.py").is_file()
