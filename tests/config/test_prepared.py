import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.prepared import DEFAULT_TOKENS, prepared_problems, prepared_tokens, prepared_without_effect
from slipway.core.padding import PaddingRule
from slipway.problems import Rule


def config_of(value=None, text='backend: "openvino"'):
    config = text_format.Parse(f'name: "m" {text}', model_config_pb2.ModelConfig())
    if value is not None:
        config.parameters["PREPARED_TOKENS"].string_value = value
    return config


@pytest.mark.parametrize(
    ("value", "padding", "tokens"),
    [
        (None, None, 0),
        (None, PaddingRule(()), 0),  # every length would be a shape
        (None, PaddingRule((), step=8), DEFAULT_TOKENS),
        ("0", PaddingRule((), step=8), 0),
        (" 64 ", PaddingRule((), step=8), 64),
        ("64", None, 64),
    ],
)
def test_nothing_is_prepared_by_default_unless_lengths_are_rounded_up(value, padding, tokens):
    config = config_of(value)
    assert prepared_problems(config) == []
    assert prepared_tokens(config, padding) == tokens


@pytest.mark.parametrize("value", ["", "no", "-1", "1.5", "8193"])
def test_anything_but_a_number_of_tokens_is_refused(value):
    (problem,) = prepared_problems(config_of(value))
    assert problem.rule is Rule.PARAMETER_INVALID
    assert problem.text == (
        f"parameter 'PREPARED_TOKENS' of model 'm' is '{value}', but it must be a whole number from 0 to 8192"
    )


ACCELERATOR = 'execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] }'
ACCELERATED = f'backend: "onnxruntime" optimization {{ {ACCELERATOR} }}'


@pytest.mark.parametrize(
    ("value", "text", "rules"),
    [
        ("64", 'backend: "openvino"', []),
        ("64", ACCELERATED, []),
        ("64", 'backend: "onnxruntime"', [Rule.WITHOUT_EFFECT]),
        ("64", 'backend: "python"', [Rule.WITHOUT_EFFECT]),
        (None, 'backend: "python"', []),
    ],
)
def test_it_is_reported_where_no_library_compiles_for_each_shape(value, text, rules):
    assert [problem.rule for problem in prepared_without_effect(config_of(value, text))] == rules
