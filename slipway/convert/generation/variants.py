"""The engines and precisions to try for a model that generates text, and why one is skipped."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.convert.generation.source import GenerationSource
from slipway.convert.options import AUTO, ConvertOptions
from slipway.convert.thresholds import FAST
from slipway.convert.token_variants import ENGINES, OPENVINO, token_variant
from slipway.convert.variants import PRECISIONS, Skipped, Variant, select
from slipway.errors import invalid
from slipway.machine import has_bfloat16
from slipway.runtime.arguments import BASE, FORCED, decoding_of, default_values
from slipway.runtime.settings import read_fixed_settings
from slipway.transformer.ctranslate2 import support
from slipway.transformer.generation import Decoding, SequenceRequest
from slipway.transformer.openvino import support as openvino
from slipway.transformer.options import INSTALLS, installed

_TABLE: Final = (
    token_variant("ctranslate2", "fp32"),
    token_variant("ctranslate2", "int8"),
    token_variant("torch", "fp32"),
    token_variant("torch", "bf16"),
    token_variant("torch", "int8"),
    token_variant(OPENVINO, "fp32"),
    token_variant(OPENVINO, "bf16"),
    token_variant(OPENVINO, "int8"),
    token_variant(OPENVINO, "int4"),
)
_ON_REQUEST: Final = "it may lose more than others: allow that with --accuracy fast or request it with --precision int4"
OFFERED: Final = tuple(name for name in PRECISIONS if name in {row.precision for row in _TABLE})


def choose_generation_variants(
    options: ConvertOptions, source: GenerationSource
) -> tuple[list[Variant], list[Skipped]]:
    """Return the variants to try and to skip; raise INVALID_ARG if the requested one is unknown or cannot run."""
    engines = (*ENGINES, OPENVINO) if source.spec.continues else ENGINES
    if options.engine not in (AUTO, *engines):
        raise invalid(f"engine '{options.engine}' cannot run models that generate text; choose {' or '.join(engines)}")
    rows = [row for row in _TABLE if row.engine in engines]

    def obstacle(row: Variant) -> str:
        if row.precision == "int4" and options.precision == AUTO and options.accuracy != FAST:
            return _ON_REQUEST
        return _obstacle(row, source)

    return select(rows, options, obstacle, kind="a model that generates text")


def _obstacle(row: Variant, source: GenerationSource) -> str:
    """Return why a variant cannot run here, "" if it can."""
    if not installed(row.engine):
        return f"{row.engine} is not installed: {INSTALLS[row.engine]}"
    if row.engine == OPENVINO:
        reason = openvino.why_not(source.spec) or openvino.refusal(
            SequenceRequest(np.ones(1, np.int64), _usual(source))
        )
        if reason:
            return f"not supported by OpenVINO: {reason}"
        if outdated := openvino.too_old():
            return outdated
    if row.engine == "ctranslate2":
        reason = support.why_not(source.spec) or support.refusal(
            source.spec, SequenceRequest(np.ones(1, np.int64), _usual(source))
        )
        return f"not supported by CTranslate2: {reason}" if reason else ""
    if row.precision == "bf16" and not has_bfloat16():
        return "this CPU has no bfloat16 instructions"
    return ""


def _usual(source: GenerationSource) -> Decoding:
    """Return greedy search with the settings of the checkpoint that hold for every request."""
    values = BASE | {"max_tokens": 1}
    if FORCED in source.defaults:
        values[FORCED] = default_values(source.defaults)[FORCED]
    rules = read_fixed_settings(source.defaults).rules
    ends = source.checkpoint.end_ids or (source.spec.end_id,)
    return decoding_of(values, most_tokens=1, start_id=source.spec.start_id, end_ids=ends, rules=rules)
