"""Conversion of models that generate text; what the models it writes run on is `slipway.runtime`."""
