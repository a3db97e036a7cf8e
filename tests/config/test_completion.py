"""What a configuration leaves out is filled in as Triton fills it in; what is shown is byte for byte what Triton shows.

The expected JSON was read from GET /config of NVIDIA's tritonserver 2.51 for the same config.pbtxt.
"""

from __future__ import annotations

import json

import pytest

from slipway.config.complete import complete_from_files
from slipway.config.normalise import normalise
from slipway.config.parse import parse_config
from slipway.config.render import config_json, config_object
from slipway.config.signature import build_signature
from slipway.errors import SlipwayError

IO = 'input [{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }] output [{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }]\n'
SHOWN_IO = (
    '"input":[{"name":"x","data_type":"TYPE_FP32","format":"FORMAT_NONE","dims":[4],"is_shape_tensor":false,'
    '"allow_ragged_batch":false,"optional":false,"is_non_linear_format_io":false}],'
    '"output":[{"name":"y","data_type":"TYPE_FP32","dims":[4],"label_filename":"","is_shape_tensor":false,'
    '"is_non_linear_format_io":false}],"batch_input":[],"batch_output":[],'
    '"optimization":{"priority":"PRIORITY_DEFAULT","input_pinned_memory":{"enable":true},'
    '"output_pinned_memory":{"enable":true},"gather_kernel_buffer_threshold":0,"eager_batching":false},'
)
SHOWN_TAIL = (
    '"gpus":[],"secondary_devices":[],"profile":[],"passive":false,"host_policy":""}],'
    '"default_model_filename":"model.py","cc_model_filenames":{},"metric_tags":{},"parameters":{},"model_warmup":[]}'
)


def completed(tmp_path, text, *files, name="m"):
    version = tmp_path / name / "1"
    version.mkdir(parents=True)
    for file in files:
        (version / file).write_text("")
    config = parse_config(text, "config.pbtxt")
    complete_from_files(config, tmp_path / name, version)
    normalise(config)
    return config


def test_a_plain_python_model_is_shown_as_triton_shows_it(tmp_path):
    config = completed(tmp_path, 'backend: "python"\n' + IO, "model.py")
    expected = (
        '{"name":"m","platform":"","backend":"python","runtime":"","version_policy":{"latest":{"num_versions":1}},'
        '"max_batch_size":0,' + SHOWN_IO + '"instance_group":[{"name":"m","kind":"KIND_CPU","count":1,' + SHOWN_TAIL
    )
    assert config_json(config).decode() == expected


def test_dynamic_batching_prefers_the_largest_batch(tmp_path):
    config = completed(tmp_path, 'backend: "python"\nmax_batch_size: 8\ndynamic_batching {}\n' + IO)
    assert (
        '"dynamic_batching":{"preferred_batch_size":[8],"max_queue_delay_microseconds":0,"preserve_ordering":false,'
        '"priority_levels":0,"default_priority_level":0,"priority_queue_policy":{}}'
    ) in config_json(config).decode()


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


def test_numbers_are_shown_as_short_as_they_are_written(tmp_path):
    text = (
        'backend: "python" sequence_batching { direct { minimum_slot_utilization: 0.3 } control_input '
        '[ { name: "S" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ] }'
    )
    shown = config_json(completed(tmp_path, text)).decode()
    assert '"minimum_slot_utilization":0.3' in shown
    assert '"fp32_false_true":[0,1]' in shown
    assert '"max_sequence_idle_microseconds":1000000' in shown


@pytest.mark.parametrize(
    ("file", "backend", "platform"),
    [
        ("model.onnx", "onnxruntime", "onnxruntime_onnx"),
        ("model.pt", "pytorch", "pytorch_libtorch"),
        ("model.pt2", "pytorch", "torch_aoti"),
        ("model.py", "python", ""),
        ("model.plan", "tensorrt", "tensorrt_plan"),
        ("model.xml", "openvino", ""),
    ],
)
def test_the_file_found_names_the_backend(tmp_path, file, backend, platform):
    config = completed(tmp_path, "", file)
    assert (config.name, config.backend, config.platform) == ("m", backend, platform)
    assert config.default_model_filename == file


def test_the_backend_may_stand_in_the_models_name(tmp_path):
    assert completed(tmp_path, "", name="thing.identity").backend == "identity"


def test_a_model_of_no_known_kind_is_refused_in_tritons_words(tmp_path):
    with pytest.raises(SlipwayError, match="Could not determine backend for model 'm' with no backend in model config"):
        completed(tmp_path, IO)


def test_platform_and_backend_must_agree(tmp_path):
    both = completed(tmp_path, 'platform: "pytorch_libtorch" backend: "pytorch"', name="fine")
    assert both.default_model_filename == "model.pt"
    with pytest.raises(SlipwayError, match="belongs to backend 'onnxruntime'"):
        completed(tmp_path, 'platform: "onnxruntime_onnx" backend: "pytorch"', name="wrong")


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
