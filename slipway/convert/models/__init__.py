"""The Python models that `slipway convert` writes beside an engine: each file here becomes a `model.py`, word for word.

They run in Slipway and, unchanged, in NVIDIA Triton, whose Python may be as old as 3.8 and has numpy and `tokenizers`
alone. So each stands by itself: none imports another, and only `generate` and `stream`, which need an engine, import
`slipway.runtime`.
"""

from __future__ import annotations

from importlib.resources import files


def model_source(name: str) -> str:
    """Return the text of the model `name`, for instance "tokenizer"."""
    return files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
