"""Traces of single requests: which are traced, what is recorded of them, and where that goes."""
