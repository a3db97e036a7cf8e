"""The engines and precisions of models that generate tokens, and their names in configs: facts for both such wings."""

from __future__ import annotations

from typing import Final

from slipway.convert.variants import Variant

ENGINES: Final = ("ctranslate2", "torch")
OPENVINO: Final = "openvino"  # for decoder-only models
# The engines' and configs' (COMPUTE_TYPE) name for each precision.
COMPUTE_TYPES: Final = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8", "int4": "int4"}
# ENGINE in configs. torch is added to the others because it supports every beam search and sampling option exactly,
# and they do not.
SERVED_BY: Final = {"ctranslate2": "ctranslate2+torch", "torch": "torch", OPENVINO: "openvino+torch"}


def token_variant(engine: str, precision: str) -> Variant:
    """Return the variant of an engine with a precision."""
    return Variant(engine, precision, title=f"{engine} {COMPUTE_TYPES[precision]}")
