"""Conversion of text encoders, and of graphs and modules in a single file: arrays in, arrays out."""
