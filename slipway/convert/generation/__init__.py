"""Conversion of models that generate text. The models that it writes run on `slipway.runtime`."""
