"""Which model names a load request may carry, in Triton's words. Pure."""

from __future__ import annotations

from slipway.errors import invalid

_PATH_CHARACTERS = frozenset("/\\\0")


def check_model_name(name: str) -> None:
    """Raise INVALID_ARG for an empty name, or for one that is more than one plain path component."""
    plain = name.strip()
    if not plain:
        raise invalid("Model name cannot be empty. Please enter a valid name to deploy.")
    if plain in {".", ".."} or not _PATH_CHARACTERS.isdisjoint(name):
        raise invalid(f"invalid model name '{name}', model name must not contain path traversal characters")
