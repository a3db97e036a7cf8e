"""Conversion of text encoders and of graphs and modules that are one file: arrays in, arrays out."""
