"""The engines and precisions of models that generate tokens, and their names in configs: facts for both such wings."""

from __future__ import annotations

from typing import Final

from slipway.convert.variants import Variant

ENGINES: Final = ("ctranslate2", "torch")
# The engines' and configs' (COMPUTE_TYPE) name for each precision.
COMPUTE_TYPES: Final = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
# ENGINE in configs. torch is added to CTranslate2 because it supports every beam search and sampling option exactly,
# and CTranslate2 does not.
SERVED_BY: Final = {"ctranslate2": "ctranslate2+torch", "torch": "torch"}


def token_variant(engine: str, precision: str) -> Variant:
    """Return the variant of an engine with a precision."""
    return Variant(engine, precision, title=f"{engine} {COMPUTE_TYPES[precision]}")
