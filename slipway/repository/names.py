"""Checks the model name in a load request, with Triton's texts. Pure."""

from __future__ import annotations

from slipway.errors import invalid, shown

_PATH_CHARACTERS = frozenset("/\\\0")


def check_model_name(name: str) -> None:
    """Raise INVALID_ARG if the name is empty or is not a single plain path component."""
    plain = name.strip()
    if not plain:
        raise invalid("Model name cannot be empty. Please enter a valid name to deploy.")
    if plain in {".", ".."} or not _PATH_CHARACTERS.isdisjoint(name):
        raise invalid(f"invalid model name '{shown(name)}', model name must not contain path traversal characters")
