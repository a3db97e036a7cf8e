"""The torch network of a checkpoint that reads images, complete in all that its encoder needs.

The decoder's arrays are held against config.json by `slipway.checkpoints`, so only the encoder's are here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from slipway.convert.generation.reference import compute
from slipway.convert.libraries import load_pretrained
from slipway.convert.vision.network import check_arrays

CLASS: Final = "VisionEncoderDecoderModel"
_OWN: Final = ("encoder.", "enc_to_dec_proj.")
_POOLER: Final = "encoder.pooler."  # decoders attend to the states before it
_REPORTED: Final = ("missing_keys", "mismatched_keys", "unexpected_keys")


def load_reader(directory: Path) -> tuple[Any, list[str]]:
    """Return the checkpoint as a torch module in FP32, and notes on what of its encoder is not used; raise
    `SlipwayError` if an array of the encoder is missing, misshapen or not described by config.json."""
    network, report = compute(
        lambda: load_pretrained(
            CLASS,
            directory,
            ignore_mismatched_sizes=True,  # so that the report names them
            output_loading_info=True,
        )
    )
    own = {kind: [each for each in report[kind] if _is_own(_name(each))] for kind in _REPORTED}
    return network.eval(), check_arrays(own, directory)


def _name(reported: Any) -> str:
    """Return the name of an array, beside which a report may give its shapes."""
    return str(reported if isinstance(reported, str) else reported[0])


def _is_own(name: str) -> bool:
    return name.startswith(_OWN) and not name.startswith(_POOLER)
