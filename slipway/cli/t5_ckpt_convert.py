"""Convert a Hugging Face T5 to a FasterTransformer checkpoint in fp32, in the layout of its first release (5.0 beta),
with the options of the converter of the same name."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.cli.huggingface_t5_ckpt_convert import convert_t5
from slipway.cli.t5_flags import BETA


def run(arguments: Sequence[str]) -> int:
    """Write `<saved_dir>/<N>-gpu`; print the arguments and the time taken; return 0 on success."""
    return convert_t5(BETA, arguments)
