"""A configuration is completed as Triton completes it, and shown byte for byte as Triton shows it.

`shown.json` holds what GET /config of NVIDIA's tritonserver 2.51 returned for each config.pbtxt.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slipway.config.complete import complete_from_files
from slipway.config.normalise import normalise
from slipway.config.parse import parse_config
from slipway.config.render import config_json, config_object
from slipway.config.signature import MAX_LABEL_BYTES, build_signature
from slipway.errors import SlipwayError

IO = 'input [{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }] output [{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }]\n'
SHOWN = json.loads((Path(__file__).parent / "shown.json").read_text(encoding="utf-8"))


def completed(tmp_path, text, *files, name="m"):
    version = tmp_path / name / "1"
    version.mkdir(parents=True)
    for file in files:
        (version / file).write_text("")
    config = parse_config(text, "config.pbtxt")
    complete_from_files(config, tmp_path / name, version)
    normalise(config)
    return config


@pytest.mark.parametrize("row", SHOWN, ids=lambda row: row["model"])
def test_a_python_model_is_shown_byte_for_byte_as_triton_shows_it(tmp_path, row):
    config = completed(tmp_path, row["config"], "model.py", name=row["model"])
    assert config_json(config).decode() == row["shown"]


def test_unnamed_instance_groups_are_numbered_and_auto_becomes_cpu(tmp_path):
    text = 'backend: "python" instance_group [ { count: 2 }, { name: "foo" kind: KIND_MODEL }, { kind: KIND_GPU } ]'
    groups = config_object(completed(tmp_path, text))["instance_group"]
    assert [(group["name"], group["kind"], group["count"]) for group in groups] == [
        ("m_0", "KIND_CPU", 2),
        ("foo", "KIND_MODEL", 1),
        ("m_2", "KIND_GPU", 1),
    ]


def test_what_was_written_is_kept(tmp_path):
    text = 'backend: "python" optimization { input_pinned_memory { enable: false } } version_policy { all {} }'
    shown = config_object(completed(tmp_path, text))
    assert shown["optimization"]["input_pinned_memory"] == {"enable": False}
    assert shown["version_policy"] == {"all": {}}


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        ("", ["model.onnx"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
        ('backend: "onnxruntime"', ["model.onnx"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
        ('platform: "onnxruntime_onnx"', [], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
        (
            'backend: "onnxruntime" default_model_filename: "other.onnx"',
            ["other.onnx"],
            ("onnxruntime", "onnxruntime_onnx", "other.onnx"),
        ),
        ("", ["model.pt"], ("pytorch", "pytorch_libtorch", "model.pt")),
        ('backend: "pytorch"', [], ("pytorch", "pytorch_libtorch", "model.pt")),
        ('platform: "pytorch_libtorch"', ["model.pt2"], ("pytorch", "pytorch_libtorch", "model.pt")),
        ('backend: "pytorch" runtime: "model.py"', ["model.py"], ("pytorch", "pytorch_libtorch", "")),
        ("", ["model.xml"], ("openvino", "", "model.xml")),
        ('backend: "tensorrt"', [], ("tensorrt", "tensorrt_plan", "model.plan")),
        ("", ["model.graphdef"], ("tensorflow", "tensorflow_graphdef", "model.graphdef")),
        ("", ["model.py"], ("python", "", "model.py")),
        ("", ["model.py", "model.onnx"], ("onnxruntime", "onnxruntime_onnx", "model.onnx")),
        ('backend: "identity"', ["model.onnx"], ("identity", "", "")),
        ('backend: "identity" platform: "foo"', [], ("identity", "foo", "")),
        ('backend: "python" platform: "onnxruntime_onnx"', [], ("python", "onnxruntime_onnx", "model.py")),
    ],
)
def test_backend_platform_and_file_name_are_completed_as_triton_does(tmp_path, text, files, expected):
    config = completed(tmp_path, text, *files)
    assert (config.backend, config.platform, config.default_model_filename) == expected


@pytest.mark.parametrize("text", ["", 'backend: "pytorch"', 'platform: "torch_aoti"'])
def test_an_exported_torch_program_is_known_by_its_file_or_platform(tmp_path, text):
    config = completed(tmp_path, text, "model.pt2")
    assert (config.backend, config.platform, config.default_model_filename) == ("pytorch", "torch_aoti", "model.pt2")


def test_the_backend_may_stand_in_the_models_name(tmp_path):
    config = completed(tmp_path, "", name="thing.identity")
    assert (config.backend, config.default_model_filename) == ("identity", "model.identity")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            IO,
            (
                "Invalid model name: Could not determine backend for model 'm' with no backend in model "
                "configuration. Expected model name of the form 'model.<backend_name>'."
            ),
        ),
        ('platform: "nope"', "unexpected platform type 'nope' for m"),
        ('default_model_filename: "other.onnx"', "unexpected platform type '' for m"),
        (
            'platform: "onnxruntime_onnx" backend: "pytorch"',
            "unexpected 'platform' and 'backend' pair, got:onnxruntime_onnx, pytorch",
        ),
    ],
)
def test_a_model_of_no_known_kind_is_refused_in_tritons_words(tmp_path, text, message):
    with pytest.raises(SlipwayError) as caught:
        completed(tmp_path, text)
    assert caught.value.message == message


def test_an_ensemble_has_no_instances_and_no_optimisation(tmp_path):
    text = 'ensemble_scheduling { step [ { model_name: "a" model_version: -1 } ] }'
    shown = config_object(completed(tmp_path, text))
    assert shown["platform"] == "ensemble"
    assert shown["instance_group"] == []
    assert "optimization" not in shown
    assert shown["model_transaction_policy"] == {"decoupled": False}


def test_the_signature_holds_dims_reshapes_options_and_labels(tmp_path):
    config = completed(
        tmp_path,
        'backend: "python" max_batch_size: 2 '
        'input [ { name: "a" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [] } optional: true } ] '
        'output [ { name: "y" data_type: TYPE_BF16 dims: [ -1, 2 ] label_filename: "labels.txt" } ]',
    )
    (tmp_path / "m" / "labels.txt").write_text("cat\ndog\n")
    signature = build_signature(config, tmp_path / "m")
    assert signature.inputs["a"].reshape == ()
    assert signature.inputs["a"].datatype == "BYTES"
    assert signature.required_inputs == frozenset()
    assert signature.outputs["y"].labels == ("cat", "dog")
    assert signature.outputs["y"].dims == (-1, 2)


def test_a_label_file_has_a_limit_and_no_more_of_it_is_read(tmp_path):
    config = completed(
        tmp_path,
        'backend: "python" output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]',
    )
    file = tmp_path / "m" / "labels.txt"
    file.write_bytes(b"label\n")
    os.truncate(file, MAX_LABEL_BYTES)
    assert len(build_signature(config, tmp_path / "m").outputs["y"].labels) == 2
    os.truncate(file, 1 << 40)
    with pytest.raises(SlipwayError, match=r"'labels.txt' of output 'y': it has more than 16 MiB"):
        build_signature(config, tmp_path / "m")


def test_a_missing_label_file_is_named_without_its_path(tmp_path):
    config = completed(
        tmp_path,
        'backend: "python" output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "none.txt" } ]',
    )
    with pytest.raises(SlipwayError) as caught:
        build_signature(config, tmp_path / "m")
    assert "'none.txt' of output 'y'" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_the_text_is_json_that_survives_every_character(tmp_path):
    text = 'backend: "python" parameters { key: "a" value { string_value: "q\\"\\n\\001 é <>" } }'
    assert json.loads(config_json(completed(tmp_path, text)))["parameters"]["a"]["string_value"] == 'q"\n\x01 é <>'
