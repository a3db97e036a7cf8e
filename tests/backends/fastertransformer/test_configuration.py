"""Parameters, checkpoint paths and the completed interface of a config.pbtxt."""

from __future__ import annotations

import logging

import pytest
from tritonclient.grpc import model_config_pb2

from slipway.backends.fastertransformer.checkpoint_path import checkpoint_directory
from slipway.backends.fastertransformer.completion import complete_interface
from slipway.backends.fastertransformer.configuration import ModelType, read_configuration
from slipway.config.normalise import normalise
from slipway.config.validate import validate
from slipway.errors import Code, SlipwayError
from tests.backends.models import context, parse


def configuration(**parameters):
    config = model_config_pb2.ModelConfig(name="m")
    for key, value in {"model_type": "T5", "DEVICE": "cpu", **parameters}.items():
        config.parameters[key].string_value = value
    return read_configuration(config)


def test_an_unknown_model_type_is_unsupported():
    with pytest.raises(SlipwayError, match=r'Unknown model "GPT-J".*one of T5, T5-Encoder, GPT, bert') as raised:
        configuration(model_type="GPT-J")
    assert raised.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize("data_type", ["fp16", "bf16"])
def test_half_precision_is_computed_in_float32_on_a_cpu_and_said(caplog, data_type):
    with caplog.at_level(logging.INFO):
        made = configuration(data_type=data_type)
    assert made.compute_type == "float32"
    assert f"data_type {data_type} is computed in float32 on a CPU" in caplog.text


def test_slipways_own_keys_choose_engine_and_type():
    made = configuration(data_type="fp16", ENGINE="torch", COMPUTE_TYPE="bfloat16", MAX_OUTPUT_LEN="10")
    assert (made.engine, made.compute_type, made.limits.output_tokens) == ("torch", "bfloat16", 10)
    for key, value in (("ENGINE", "tpu"), ("COMPUTE_TYPE", "int3"), ("MAX_INPUT_LEN", "0"), ("data_type", "fp8")):
        with pytest.raises(SlipwayError, match=f"'{key}' is '?{value}"):
            configuration(**{key: value})


def test_the_first_interface_says_half_with_is_half():
    assert configuration(is_half="1").data_type == "fp16"
    assert configuration(is_half="0").data_type == "fp32"


def test_int8_mode_of_gpt_is_int8_and_of_t5_ignored(caplog):
    assert configuration(model_type="GPT", int8_mode="1").compute_type == "int8"
    assert configuration(int8_mode="1").compute_type == "float32"
    assert "int8_mode is ignored for T5" in caplog.text


def test_splits_that_are_not_numbers_are_0_and_logged(caplog):
    assert configuration(tensor_para_size="two").tensor_parallel == 0
    assert "parameter 'tensor_para_size' is 'two'" in caplog.text


def make_checkpoint(path):
    path.mkdir(parents=True)
    (path / "config.ini").write_text("[encoder]\n")
    return path


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    return tmp_path / "m"


def found(model, path="", ranks=1, text=""):
    return checkpoint_directory(context(model, text), path, ranks)


@pytest.mark.capability("0.6")
def test_an_absolute_path_is_taken_as_it_is(model, tmp_path):
    place = make_checkpoint(tmp_path / "elsewhere")
    assert found(model, str(place)) == place


@pytest.mark.capability("0.6")
def test_a_relative_path_counts_from_where_the_server_was_started_and_from_the_model(model, tmp_path, monkeypatch):
    inside = make_checkpoint(model / "weights")
    assert found(model, "weights") == inside
    started = make_checkpoint(tmp_path / "start" / "weights")
    monkeypatch.chdir(tmp_path / "start")
    assert found(model, "weights") == started


@pytest.mark.capability("0.6")
def test_without_a_path_the_version_directory_is_looked_through(model):
    (model / "1" / "config.ini").write_text("[encoder]\n")
    assert found(model, text='default_model_filename: "t5"') == model / "1"
    ranks = make_checkpoint(model / "1" / "2-gpu")
    assert found(model, ranks=2) == ranks
    named = make_checkpoint(model / "1" / "t5")
    assert found(model, ranks=2, text='default_model_filename: "t5"') == named


def test_the_converters_own_subdirectory_is_found(model, tmp_path):
    ranks = make_checkpoint(tmp_path / "out" / "1-gpu")
    assert found(model, str(tmp_path / "out")) == ranks


@pytest.mark.capability("0.6")
def test_every_place_that_was_tried_is_named(model):
    with pytest.raises(SlipwayError) as raised:
        found(model, "weights")
    assert raised.value.code is Code.UNAVAILABLE
    for place in ("'weights'", str(model / "weights"), str(model / "1" / "weights")):
        assert place in raised.value.message
    with pytest.raises(SlipwayError, match=f"{model}/1/t5, .*{model}/1/1-gpu"):
        found(model, text='default_model_filename: "t5"')


@pytest.mark.parametrize("kind", ModelType)
def test_an_interface_that_is_left_out_is_filled_in(kind, tmp_path):
    config = model_config_pb2.ModelConfig(name="m", backend="fastertransformer")
    complete_interface(config, kind, "fp16")
    normalise(config)
    assert validate(config, tmp_path) == []
    assert config.max_batch_size == 1024
    assert all(declared.allow_ragged_batch for declared in config.input)
    types = {declared.name: declared.data_type for declared in config.output}
    if kind not in (ModelType.T5, ModelType.GPT):  # those answer with tokens
        assert types["output_hidden_state"] == model_config_pb2.TYPE_FP16


def test_what_the_file_says_stays():
    config = parse(
        """max_batch_size: 8
input { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }
output { name: "output_ids" data_type: TYPE_INT64 dims: [ -1, -1 ] }"""
    )
    complete_interface(config, ModelType.T5, "fp16")
    assert [declared.name for declared in config.input] == ["input_ids"]
    assert config.input[0].data_type == config.output[0].data_type == model_config_pb2.TYPE_INT64
    assert not config.HasField("dynamic_batching")


def test_outputs_alone_may_be_left_out():
    config = parse('max_batch_size: 8\ninput { name: "input_ids" data_type: TYPE_UINT32 dims: [ -1 ] }')
    complete_interface(config, ModelType.T5, "")
    assert [declared.name for declared in config.output][:2] == ["output_ids", "sequence_length"]
    assert (len(config.input), config.max_batch_size) == (1, 8)


def test_the_first_interface_is_not_mixed_with_the_current_one():
    config = parse('input { name: "INPUT_ID" data_type: TYPE_UINT32 dims: [ -1 ] }')
    complete_interface(config, ModelType.T5, "")
    assert not config.output
