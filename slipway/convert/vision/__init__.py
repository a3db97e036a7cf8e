"""Conversion of networks that see images: labels, objects with their boxes, and vectors come out."""
