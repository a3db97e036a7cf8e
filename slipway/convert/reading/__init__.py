"""Conversion of models that read images: a vision encoder as a graph, and a decoder on Slipway's engine.

Built on the wing of text generators, because everything after the encoder is one.
"""
