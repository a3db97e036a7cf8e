"""Alias for the `model.py` of older repositories; `GenerationModel` is now in `slipway.runtime`."""

from slipway.runtime import GenerationModel

__all__ = ["GenerationModel"]
