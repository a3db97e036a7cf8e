"""Where the `model.py` of older repositories finds `GenerationModel`; `slipway.runtime` is its place."""

from slipway.runtime import GenerationModel

__all__ = ["GenerationModel"]
