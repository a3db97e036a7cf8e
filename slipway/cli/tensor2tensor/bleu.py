"""`t2t-bleu`: BLEU of a file of translations, as tensor2tensor computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.config.flags import Kind, choice
from slipway.train.bleu import corpus_bleu, paired_lines

_FILE: Final = Kind("FILE", str)
_VARIANTS: Final = ("uncased", "cased")


@dataclass(frozen=True, slots=True)
class BleuFlags:
    """The flags of `t2t-bleu`."""

    translation: str = flag("", _FILE, "file with one translation per line")
    reference: str = flag("", _FILE, "file with the right translation of each line")
    bleu_variant: str = flag("both", choice(*_VARIANTS, "both"), "whether upper and lower case count as different")


COMMAND: Final = AbslCommand(
    "t2t-bleu",
    "Compute the BLEU of translations.",
    BleuFlags,
    required=("translation", "reference"),
    ignored={"source": "BLEU does not depend on it"},
)


def run(arguments: Sequence[str]) -> int:
    """Print a line per variant and return 0."""
    flags = read_flags(COMMAND, arguments)
    pairs = paired_lines(Path(flags.reference), Path(flags.translation))
    for variant in _VARIANTS if flags.bleu_variant == "both" else (flags.bleu_variant,):
        print(f"BLEU_{variant} = {corpus_bleu(pairs, cased=variant == 'cased'):6.2f}")
    return 0
