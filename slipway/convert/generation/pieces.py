"""Where the `model.py` of older repositories finds `TextPieces`; `slipway.runtime` is its place."""

from slipway.runtime import TextPieces

__all__ = ["TextPieces"]
