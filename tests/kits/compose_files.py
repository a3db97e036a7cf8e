"""Compose files with their variables replaced, as compose replaces them."""

from __future__ import annotations

import re

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<how>:-|:\?)?(?P<rest>[^}]*)\}")


def filled(value, settings):
    """Return a compose file's value with its variables replaced; raise `KeyError` for one that has to be set."""
    if isinstance(value, dict):
        return {name: filled(each, settings) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, settings) for each in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        given = settings.get(found["name"], "")
        if not given and found["how"] == ":?":
            raise KeyError(found["name"])
        return given or found["rest"]

    return _VARIABLE.sub(replaced, value)
