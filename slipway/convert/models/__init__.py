"""The Python models that `slipway convert` writes around an engine: each file here is copied verbatim as a `model.py`.

They run in Slipway and, unchanged, in NVIDIA Triton, whose Python may be as old as 3.8 with only numpy and
`tokenizers` installed (for images, Pillow). So each is self-contained: none imports another. Those that need an engine
(`completions`, `generate`, `stream`, `translate`) or the geometry of pages (`page_letterbox`, `page_elements`), of
which a second copy would have to be kept equal to the library that clients use, import `slipway.runtime` and nothing
else of Slipway.
"""

from __future__ import annotations

from importlib.resources import files


def model_source(name: str) -> str:
    """Return the source of the model `name`, for example "tokenizer"."""
    return files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
