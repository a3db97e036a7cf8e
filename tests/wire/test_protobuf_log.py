"""The values in LogSettings messages have the types that Triton expects."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from slipway.errors import SlipwayError
from slipway.wire.protobuf_log import log_settings_response, read_log_settings


def message(**settings: tuple[str, object]) -> pb.LogSettingsRequest:
    made = pb.LogSettingsRequest()
    for name, (field, value) in settings.items():
        setattr(made.settings[name], field, value)
    return made


def test_each_setting_has_its_own_field_in_both_directions():
    given = {
        "log_info": ("bool_param", True),
        "log_verbose_level": ("uint32_param", 3),
        "log_format": ("string_param", "ISO8601"),
    }
    read = read_log_settings(message(**given))
    assert read == {name: value for name, (_, value) in given.items()}
    response = log_settings_response(read | {"log_file": "a"})
    assert {name: setting.WhichOneof("parameter_choice") for name, setting in response.settings.items()} == {
        "log_info": "bool_param",
        "log_verbose_level": "uint32_param",
        "log_format": "string_param",
        "log_file": "string_param",
    }


@pytest.mark.parametrize(
    ("name", "field", "value", "error"),
    [
        ("log_info", "string_param", "yes", "expect boolean for 'log_info'"),
        ("log_error", "uint32_param", 1, "expect boolean for 'log_error'"),
        ("log_verbose_level", "bool_param", True, "expect int32 for 'log_verbose_level'"),
        ("log_format", "bool_param", True, "expect string for 'log_format'"),
    ],
)
def test_a_value_of_another_type_is_refused(name, field, value, error):
    with pytest.raises(SlipwayError, match=f"^{error}$"):
        read_log_settings(message(**{name: (field, value)}))


def test_the_file_is_left_to_be_refused_before_all_others():
    assert read_log_settings(message(log_file=("bool_param", True), log_info=("string_param", ""))) == {"log_file": ""}
