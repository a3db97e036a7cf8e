"""The engines and precisions to try for a model of tensor2tensor, and why one is skipped."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.convert.options import AUTO, ConvertOptions
from slipway.convert.token_variants import ENGINES, token_variant
from slipway.convert.variants import Skipped, Variant, select
from slipway.errors import invalid
from slipway.machine import has_bfloat16
from slipway.runtime.translation import Translation
from slipway.transformer.ctranslate2 import support
from slipway.transformer.generation import SequenceRequest
from slipway.transformer.options import INSTALL, installed

_TABLE: Final = (
    token_variant("ctranslate2", "fp32"),
    token_variant("ctranslate2", "int8"),
    token_variant("torch", "fp32"),
    token_variant("torch", "bf16"),
    token_variant("torch", "fp16"),
    token_variant("torch", "int8"),
)


def choose_variants(options: ConvertOptions, translation: Translation) -> tuple[list[Variant], list[Skipped]]:
    """Return the variants to try and to skip; raise INVALID_ARG if the requested one is unknown or cannot run."""
    if options.engine not in (AUTO, *ENGINES):
        raise invalid(f"engine '{options.engine}' cannot run models that generate text; choose {' or '.join(ENGINES)}")

    def obstacle(row: Variant) -> str:
        if not installed(row.engine):
            return f"{row.engine} is not installed: {INSTALL}"
        if row.engine == "ctranslate2":
            usual = SequenceRequest(np.ones(1, np.int64), translation.decoding(1, translation.settings))
            reason = support.why_not(translation.spec) or support.refusal(translation.spec, usual)
            return f"not supported by CTranslate2: {reason}" if reason else ""
        if row.precision == "bf16" and not has_bfloat16():
            return "this CPU has no bfloat16 instructions"
        if row.precision == "fp16" and options.precision == AUTO:
            return "slower than float32 on most CPUs; --precision fp16 tries it"
        return ""

    return select(_TABLE, options, obstacle, kind="a model of tensor2tensor")
