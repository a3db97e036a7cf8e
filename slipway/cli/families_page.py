"""docs/families.md: the models that generate text, by `model_type`, and what of their settings is honoured.

`python -m slipway.cli.families_page FILE` (`make docs`) writes the page from the tables with which checkpoints are
read. Decides nothing itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.checkpoints.huggingface.consulted import CHANGING
from slipway.checkpoints.huggingface.decoder_families import DECODER_FAMILIES
from slipway.checkpoints.huggingface.decoder_family import DecoderFamily
from slipway.cli.markdown import code, table
from slipway.convert.generation.source import TASKS
from slipway.transformer.spec import Norm, Positions, QueryKeyNorm, RotaryScaling

_HEAD: Final = """# Models that generate text

`slipway convert` reads a checkpoint by the `model_type` in its config.json. A fine-tuned model has the type of its
base, whatever its name. `make docs` writes this page from the tables with which checkpoints are read.
"""
_DECODERS: Final = """\
They continue a prompt. Each is compared with `transformers` on small random models: the scores after every token, and
the ids that greedy search generates in a batch of prompts of different lengths."""
_SETTINGS: Final = """\
Every setting of config.json is honoured, known to change nothing about what the model computes, or named in the report
as ignored. Settings in the form of transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) are read,
and experts that are stored one by one or together. An unknown type of rotary scaling, or an unknown name within
`rope_scaling` and `rope_parameters`, is refused with the nearest known one. So is a name that is nearly that of a
setting which is missing. Packed weights (GPTQ, AWQ, bitsandbytes) are described in [conversion.md](conversion.md)."""
_PACKED: Final = ("quantization_config", "compression_config")  # read before the settings, or refused with a reason
_REFUSED: Final = "These are refused if they say anything other than the value below, unless the family honours them:"
_OTHERS: Final = "Most of them have an encoder. The first task is the default of `--task`."
_POSITIONS: Final = {
    Positions.TABLE: "a table",
    Positions.ALIBI: "ALiBi",
    Positions.ROTARY: "rotary",
}


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *(f"{head}\n\n{text}\n" for head, text in _sections())])


def _sections() -> Iterator[tuple[str, str]]:
    heads = ("Model type", "Models", "Positions", "Also")
    rows = (
        (code(name), family.title, _positions(family), ", ".join(_features(family)))
        for name, family in DECODER_FAMILIES.items()
    )
    yield "## Decoder-only models", f"{_DECODERS}\n\n{table(heads, rows)}"
    others = (
        (code(name), code(*(task.value for task in tasks)))
        for name, tasks in TASKS.items()
        if name not in DECODER_FAMILIES
    )
    yield "## Other models", f"{_OTHERS}\n\n{table(('Model type', 'Tasks'), others)}"
    scalings = code("default", *(each.value for each in RotaryScaling if each is not RotaryScaling.NONE))
    yield "## Settings", f"{_SETTINGS}\n\nTypes of rotary scaling: {scalings}."
    refused = ((code(name), _neutral(name)) for name in CHANGING if name not in _PACKED)
    yield "### Refused settings", f"{_REFUSED}\n\n{table(('Setting', 'Value'), refused)}"


def _neutral(name: str) -> str:
    """Return the values of a setting that change nothing, as JSON."""
    words = {False: "false", True: "true"}
    return code("null", *(words[value] if isinstance(value, bool) else repr(value) for value in CHANGING[name]))


def _positions(family: DecoderFamily) -> str:
    """Return how a family encodes positions."""
    rule = family.rotary
    if rule is None:
        return _POSITIONS[family.network["positions"]]
    kind = "rotary, in interleaved pairs" if rule.interleaved else "rotary"
    other = ", another base in layers with a window" if rule.local_base is not None else ""
    return kind + other


def _features(family: DecoderFamily) -> Iterator[str]:
    """Yield what distinguishes a family."""
    network = family.network
    yield "RMS norms" if network["norm"] is Norm.RMS else "layer norms"
    if network.get("branch_norm"):
        yield "norms of each block's output"
    if family.names.key_value_heads:
        yield "grouped heads"
    if network.get("query_key_norm", QueryKeyNorm.NONE) is not QueryKeyNorm.NONE:
        yield "normalised queries and keys"
    if family.windows is not None:
        yield "attention windows"
    if network.get("parallel") or "parallel" in family.flags:
        yield "parallel blocks"
    if family.experts is not None:
        yield "experts"
    if "attention_softcap" in family.numbers:
        yield "soft caps"
    if "residual_scale" in family.numbers:
        yield "multipliers"
    yield from family.also


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
