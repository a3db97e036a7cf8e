"""Alias for the `model.py` of older repositories; `TextPieces` is now in `slipway.runtime`."""

from slipway.runtime import TextPieces

__all__ = ["TextPieces"]
