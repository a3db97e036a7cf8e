import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.samples import sample_tensors
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError
from slipway.verify.sample import ensemble_sample, sample_of


def config_of(datatype, data, *, max_batch_size=4, dims="[ 3 ]"):
    return text_format.Parse(
        f'name: "m" max_batch_size: {max_batch_size} model_warmup [{{ name: "w" inputs {{ key: "x" value '
        f"{{ data_type: TYPE_{datatype} dims: {dims} {data} }} }} }}]",
        model_config_pb2.ModelConfig(),
    )


def tensor_of(config, directory):
    return sample_tensors(config, config.model_warmup[0], directory)["x"]


@pytest.mark.parametrize("kind", ["zero_data: true", "random_data: true"])
def test_strings_are_empty_even_if_they_are_to_be_random(tmp_path, kind):
    assert tensor_of(config_of("STRING", kind), tmp_path).array.tolist() == [[b"", b"", b""]]


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "BF16", "FP64"])
def test_random_numbers_are_small_and_the_same_every_time(tmp_path, datatype):
    config = config_of(datatype, "random_data: true", dims="[ 200 ]")
    array = tensor_of(config, tmp_path).array
    assert array.dtype == BY_NAME[datatype].numpy
    values = array.astype(np.float64)
    assert values.min() >= 0
    assert values.max() <= 1
    assert len(np.unique(values)) > 1
    assert np.array_equal(array, tensor_of(config, tmp_path).array)


@pytest.mark.parametrize(("max_batch_size", "shape"), [(0, (2, 2)), (1, (1, 2, 2))])
def test_a_sample_is_one_row(tmp_path, max_batch_size, shape):
    config = config_of("INT32", "zero_data: true", max_batch_size=max_batch_size, dims="[ 2, 2 ]")
    array = tensor_of(config, tmp_path).array
    assert array.shape == shape
    assert not array.any()


@pytest.mark.parametrize("data", ["zero_data: true", "random_data: true", 'input_data_file: "x"'])
def test_a_load_and_a_verification_use_the_same_tensors(tmp_path, data):
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup/x").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    config = config_of("FP32", data)
    (sent,) = sample_of(config, tmp_path).inputs
    assert np.array_equal(sent.array, tensor_of(config, tmp_path).array)


def test_a_file_with_too_few_strings_is_refused_before_it_is_sent(tmp_path):
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup/x").write_bytes(b"\x01\0\0\0a")
    with pytest.raises(SlipwayError, match=r"warm-up file of input 'x' does not contain BYTES \[1, 3\]"):
        sample_of(config_of("STRING", 'input_data_file: "x"'), tmp_path)


ENSEMBLE = text_format.Parse(
    'name: "e" platform: "ensemble" max_batch_size: 4 '
    'input [{ name: "a" data_type: TYPE_FP32 dims: [ 3 ] optional: true }, '
    '{ name: "b" data_type: TYPE_INT32 dims: [ 2 ] }, { name: "c" data_type: TYPE_INT32 dims: [ 2 ] optional: true }] '
    'ensemble_scheduling { step [{ model_name: "m" input_map { key: "x" value: "a" } }] }',
    model_config_pb2.ModelConfig(),
)


def test_an_ensemble_gets_the_samples_of_its_steps_and_generated_ones_for_what_it_also_requires(tmp_path):
    step = config_of("FP32", "random_data: true")
    sample = ensemble_sample(ENSEMBLE, {"m": (step, tmp_path)})
    assert [each.name for each in sample.inputs] == ["a", "b"]
    np.testing.assert_array_equal(sample.inputs[0].array, tensor_of(step, tmp_path).array)
    assert sample.inputs[1].array.shape == (1, 2)
    assert sample.source == "warm-up samples of its steps"


def test_a_sample_of_a_step_whose_files_are_elsewhere_is_left_out():
    sample = ensemble_sample(ENSEMBLE, {"m": (config_of("FP32", 'input_data_file: "x"'), None)})
    assert [each.name for each in sample.inputs] == ["b"]
    assert sample.source == "example"
