"""The number types to try for a decoder of images: it runs on Slipway's torch engine, which alone takes states."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from slipway.convert.candidates.variants import ENGINES as ENCODER_ENGINES
from slipway.convert.options import AUTO, ConvertOptions
from slipway.convert.token_variants import token_variant
from slipway.convert.variants import PRECISIONS, Skipped, Variant, select
from slipway.errors import invalid
from slipway.machine import has_bfloat16
from slipway.transformer.options import INSTALL, installed

ENGINE: Final = "torch"
EXACT: Final = token_variant(ENGINE, "fp32")
_TABLE: Final = (EXACT, token_variant(ENGINE, "bf16"), token_variant(ENGINE, "int8"))


def choose_decoder_variants(options: ConvertOptions) -> tuple[list[Variant], list[Skipped]]:
    """Return the variants to try and to skip; raise INVALID_ARG if the requested engine runs
    neither encoders nor decoders of images, or the precision does not exist."""
    if options.engine not in (AUTO, ENGINE, *ENCODER_ENGINES):
        raise invalid(
            f"engine '{options.engine}' cannot run models that read images; choose {ENGINE} for the decoder and any "
            f"encoder, or the encoder's engine: {', '.join(ENCODER_ENGINES)}"
        )
    engine = AUTO if options.engine == AUTO else ENGINE
    return select(_TABLE, replace(options, engine=engine), _obstacle, kind="a model that reads images")


def coarser(one: str, other: str) -> str:
    """Return the less precise of two precisions."""
    return max(one, other, key=PRECISIONS.index)


def _obstacle(row: Variant) -> str:
    """Return why a variant cannot run here, "" if it can."""
    if not installed(ENGINE):
        return f"{ENGINE} is not installed: {INSTALL}"
    if row.precision == "bf16" and not has_bfloat16():
        return "this CPU has no bfloat16 instructions"
    return ""
