"""Which engines and number types a conversion of a generating model tries, and why a row is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.convert.generation.source import GenerationSource
from slipway.convert.variants import AUTO, Skipped
from slipway.errors import invalid
from slipway.machine import has_bfloat16
from slipway.transformer.ctranslate2 import support
from slipway.transformer.generation import Decoding, SequenceRequest
from slipway.transformer.options import INSTALL, installed

ENGINES: Final = ("ctranslate2", "torch")
COMPUTE_TYPES: Final = ("float32", "bfloat16", "int8")


@dataclass(frozen=True, slots=True)
class GenerationVariant:
    """One way to run the model. `served_by` is what the config asks for: beams and sampling work too, which
    CTranslate2 does not do exactly as asked and torch does."""

    engine: str
    compute_type: str
    served_by: str

    @property
    def label(self) -> str:
        """Return the variant's name for people."""
        return f"{self.engine} {self.compute_type}"

    @property
    def slug(self) -> str:
        """Return the variant's name for a directory."""
        return f"{self.engine}-{self.compute_type}"


_TABLE: Final = (
    GenerationVariant("ctranslate2", "float32", "ctranslate2+torch"),
    GenerationVariant("ctranslate2", "int8", "ctranslate2+torch"),
    GenerationVariant("torch", "float32", "torch"),
    GenerationVariant("torch", "bfloat16", "torch"),
    GenerationVariant("torch", "int8", "torch"),
)


def choose_generation_variants(
    engine: str, compute_type: str, source: GenerationSource
) -> tuple[list[GenerationVariant], list[Skipped]]:
    """Return what to try and what not; raise INVALID_ARG when what is asked for does not exist or cannot run here."""
    if engine not in (AUTO, *ENGINES):
        raise invalid(f"engine '{engine}' does not generate text; choose {' or '.join(ENGINES)}")
    asked = [row for row in _TABLE if engine in (AUTO, row.engine) and compute_type in (AUTO, row.compute_type)]
    if not asked:
        has = ", ".join(row.compute_type for row in _TABLE if row.engine == engine)
        raise invalid(f"engine '{engine}' has no compute type '{compute_type}' here; it has: {has}")
    obstacles = {row: _obstacle(row, source) for row in asked}
    tried = [row for row, reason in obstacles.items() if not reason]
    skipped = [Skipped(row.label, reason) for row, reason in obstacles.items() if reason]
    if not tried:
        raise invalid(f"nothing can be tried: {skipped[0].label}: {skipped[0].reason}")
    return tried, skipped


def _obstacle(row: GenerationVariant, source: GenerationSource) -> str:
    """Return why a variant cannot run here, "" if it can."""
    if not installed(row.engine):
        return f"{row.engine} is not installed: {INSTALL}"
    if row.engine == "ctranslate2":
        forced = source.checkpoint.forced_first_id
        usual = Decoding(1, forced=() if forced is None else (forced,))
        reason = support.why_not(source.spec) or support.refusal(
            source.spec, SequenceRequest(np.ones(1, np.int64), usual)
        )
        return f"CTranslate2 cannot do {reason}" if reason else ""
    if row.compute_type == "bfloat16" and not has_bfloat16():
        return "this CPU has no bfloat16 instructions"
    return ""
