"""Read the `parameters` of a model configuration, and how many instances and threads it requests.

Parameters are read as numbers, truth values and words; errors name the key. Knows no backend: each names its own keys.
"""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2

from slipway.backends.registry import THREAD_KEYS
from slipway.errors import SlipwayError, refused
from slipway.problems import Named, Problem, Rule

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def explicit_threads(config: model_config_pb2.ModelConfig) -> int:
    """Return the CPU threads per instance that the configuration sets, 0 if it sets none."""
    for key in THREAD_KEYS:
        value = config.parameters[key].string_value if key in config.parameters else ""
        if value.isdecimal() and int(value) > 0:
            return int(value)
    return 0


def instance_count(config: model_config_pb2.ModelConfig) -> int:
    """Return how many instances answer requests at the same time; sizes what they share (thread pools, streams)."""
    counts = [max(int(group.count), 1) for group in config.instance_group if not group.passive]
    return sum(counts) or 1


class Parameters:
    """The string parameters of one model."""

    def __init__(self, config: model_config_pb2.ModelConfig) -> None:
        self._model = config.name
        self._values: dict[str, str] = {key: value.string_value.strip() for key, value in config.parameters.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        """Return the value of `key`, "" when it is not set."""
        return self._values.get(key, "")

    def integer(self, key: str, default: int = 0) -> int:
        """Return `key` as a whole number; raise INVALID_ARG when it is not one."""
        value = self._values.get(key)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise self._refused(key, value, "integral number") from None

    def boolean(self, key: str, default: bool) -> bool:
        """Return `key` as a truth value; raise INVALID_ARG when it is not one."""
        value = self._values.get(key)
        if value is None:
            return default
        try:
            return _BOOLEANS[value.lower()]
        except KeyError:
            raise self._refused(key, value, "boolean") from None

    def starting_with(self, prefix: str) -> dict[str, str]:
        """Return the keys that start with `prefix`, with their values."""
        return {key: value for key, value in self._values.items() if key.startswith(prefix)}

    def _refused(self, key: str, value: str, kind: str) -> SlipwayError:
        text = f"unable to load model '{self._model}', parameter '{key}': failed to convert '{value}' to {kind}"
        return refused(parameter_problem(key, text))


def parameter_problem(key: str, text: str) -> Problem:
    """Return the problem `text` about the value of the parameter `key`."""
    path = ("parameters", Named(key, "key"), "value")
    return Problem(Rule.PARAMETER_INVALID, text, path, "correct the value, or remove the parameter")
