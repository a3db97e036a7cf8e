"""The backend `fastertransformer`: NVIDIA's T5, T5 encoder, GPT and BERT repositories on Slipway's transformer engines.

`backend.py` loads, `interface_*.py` turn requests into rows for an engine and results into tensors.
"""
