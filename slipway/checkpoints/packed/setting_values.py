"""`quantization_config` of a config.json: values of the right type, or an error, and which keys nobody has read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slipway.errors import invalid, shown, unsupported


class PackedSettings:
    """The settings of packed weights; `path` is the file they are in."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values
        self._read: set[str] = set()

    def number(self, name: str, known: Sequence[int]) -> int:
        """Return a whole number that must be one of `known`."""
        value = self._value(name)
        if not isinstance(value, int) or isinstance(value, bool) or value not in known:
            raise self._unsupported(name, value, known)
        return value

    def group_size(self) -> int:
        """Return the number of inputs that share a scale, -1 if all of them do."""
        value = self._value("group_size")
        if not isinstance(value, int) or isinstance(value, bool) or not (value == -1 or 1 <= value <= 1 << 20):
            raise invalid(
                f"{self.path}: 'group_size' is {shown(json.dumps(value))}, expected a number of inputs, or -1"
            )
        return value

    def one_of(self, name: str, known: Sequence[str], default: str) -> str:
        """Return a word that must be one of `known`, `default` if it is absent."""
        value = self._value(name)
        value = default if value is None else value
        if value not in known:
            raise self._unsupported(name, value, known)
        return str(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a truth value, `default` if it is absent."""
        value = self._value(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(f"{self.path}: '{name}' is {shown(json.dumps(value))}, expected true or false")
        return default if value is None else value

    def without_effect(self, *names: str) -> None:
        """Note settings that only concern how the weights were made, or how others compute with them."""
        self._read.update(names)

    @property
    def unread(self) -> tuple[str, ...]:
        """The names that are set and that nobody has asked for."""
        return tuple(sorted(name for name, value in self._values.items() if not (value is None or name in self._read)))

    def _value(self, name: str) -> Any:
        self._read.add(name)
        return self._values.get(name)

    def _unsupported(self, name: str, value: Any, known: Sequence[object]) -> Exception:
        wanted = ", ".join(map(str, known))
        return unsupported(f"{self.path}: '{name}' is {shown(json.dumps(value))}; supported: {wanted}")
