"""LogSettings messages: the values that a client gives, and the settings of the server. Source: grpc_server.cc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tritonclient.grpc import service_pb2 as pb

from slipway.errors import invalid

Value = bool | int | str

# Setting -> the field of its value, and what Triton calls that in errors. The file is refused, whatever its value.
_KINDS: Final = {
    "log_info": ("bool_param", "boolean"),
    "log_warning": ("bool_param", "boolean"),
    "log_error": ("bool_param", "boolean"),
    "log_verbose_level": ("uint32_param", "int32"),
    "log_format": ("string_param", "string"),
}
_FILE: Final = "log_file"
_CHOICE: Final = "parameter_choice"


def read_log_settings(message: pb.LogSettingsRequest) -> dict[str, Value]:
    """Return the values in a request by setting; raise INVALID_ARG for a value of another type than the setting's."""
    if _FILE in message.settings:  # refused before all others, whatever they are
        return {_FILE: ""}
    given: dict[str, Value] = {}
    for name, setting in message.settings.items():
        choice = setting.WhichOneof(_CHOICE)
        kind = _KINDS.get(name)
        if kind is not None and choice != kind[0]:
            raise invalid(f"expect {kind[1]} for '{name}'")
        given[name] = getattr(setting, choice) if choice is not None else ""
    return given


def log_settings_response(settings: Mapping[str, Value]) -> pb.LogSettingsResponse:
    """Return the message with all settings."""
    response = pb.LogSettingsResponse()
    for name, value in settings.items():
        field = _KINDS[name][0] if name in _KINDS else "string_param"
        setattr(response.settings[name], field, value)
    return response
