from __future__ import annotations

import pytest
from tritonclient.grpc import model_config_pb2

from slipway.backends.lightseq.settings import LightSeqSettings, read_settings
from slipway.errors import SlipwayError


def read(**parameters):
    config = model_config_pb2.ModelConfig(name="m")
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return read_settings(config)


def test_a_model_type_is_all_that_is_needed():
    assert read(model_type="Bert") == LightSeqSettings("Bert")


def test_slipways_own_keys_are_read():
    given = read(model_type="Gpt", ENGINE="torch", COMPUTE_TYPE="int8", RANDOM_SEED="7", LAYER_NORM_EPSILON="1e-5")
    assert given == LightSeqSettings("Gpt", "torch", "int8", 7, 1e-5)


@pytest.mark.parametrize("value", ["small", "-1", "0", "2", "nan"])
def test_an_epsilon_is_a_small_number(value):
    with pytest.raises(SlipwayError, match="'LAYER_NORM_EPSILON'"):
        read(LAYER_NORM_EPSILON=value)
