"""Opens a FasterTransformer checkpoint: config.ini becomes a specification, files become arrays, mapped on access.

A checkpoint split for any number of GPUs is merged. One error names every problem of the configuration, another every
problem of the files, before a file is read.
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.fastertransformer import bert, gpt, t5
from slipway.checkpoints.fastertransformer.array_files import DTYPES, SUFFIX, array, check_files, count_ways, locate
from slipway.checkpoints.fastertransformer.config_ini import CONFIG, Ini, read_ini
from slipway.checkpoints.fastertransformer.description import Description, refused
from slipway.checkpoints.fastertransformer.layout import place
from slipway.errors import invalid, unsupported
from slipway.transformer.weights import Weights, check_complete, expected_shapes

KINDS: Final = ("T5", "T5-Encoder", "GPT", "bert")

_ROTARY: Final = "rotary position embeddings"
_MISSING: Final = {"GPT-J": _ROTARY, "GPT-NeoX": _ROTARY, "Llama": _ROTARY}
_SECTIONS: Final = {"gptj": "GPT-J", "gptneox": "GPT-NeoX", "llama": "Llama"}
_LOG: Final = logging.getLogger("slipway.checkpoints")


def read_fastertransformer(directory: Path, *, kind: str, parameters: Mapping[str, str] | None = None) -> Checkpoint:
    """Open the checkpoint in `directory`, which contains config.ini and the files, as a model of `kind` (`KINDS`).

    `parameters` are those of the model's config.pbtxt: old GPT models have their dimensions there, not in config.ini.
    Raises UNSUPPORTED for a kind that our network cannot compute, INVALID_ARG naming all other problems.
    """
    if kind in _MISSING:
        raise refused(str(directory), f"{_MISSING[kind]} ({kind})")
    if kind not in KINDS:
        raise unsupported(f"Unknown model '{kind}': model_type must be one of {', '.join((*KINDS, *_MISSING))}")
    if not directory.is_dir():
        raise invalid(f"checkpoint directory '{directory}' does not exist")
    description = _describe(directory, kind, parameters or {})
    ways = description.ways or _ways(directory, description)
    wanted = locate(directory, description, ways)
    check_files(directory, wanted, lambda name: name.startswith(description.unread))
    shapes = expected_shapes(description.spec)
    weights = Weights({name: array(where, shapes[name]) for name, where in wanted.items()})
    check_complete(description.spec, weights, str(directory))
    return Checkpoint(str(directory), description.spec, weights)


def _describe(directory: Path, kind: str, parameters: Mapping[str, str]) -> Description:
    path = directory / CONFIG
    if kind == "GPT":
        ini, inert = _gpt_ini(path, parameters), gpt.INERT
    else:
        ini, inert = read_ini(path), t5.INERT if kind.startswith("T5") else bert.INERT
    for name, family in _SECTIONS.items():
        if ini.section(name).values:
            raise refused(str(path), f"{_MISSING[family]} ({family})")
    if kind == "GPT":
        own = (directory / f"model.lm_head.weight{SUFFIX}").is_file()
        description = gpt.describe(ini, own_head=own, position_rows=_position_rows(directory, ini))
    elif kind == "bert":
        description = bert.describe(ini)
    else:
        whole = kind == "T5"
        description = t5.describe(ini, encoder_only=not whole, own_head=whole and _has_own_head(directory))
    ini.finish(inert)
    return description


def _gpt_ini(path: Path, parameters: Mapping[str, str]) -> Ini:
    """Return config.ini with dimensions overridden by `parameters`: the first interface read only those."""
    given = {key: parameters[key] for key in (*gpt.DIMENSIONS, "start_id", "end_id") if key in parameters}
    if path.is_file() or not given:
        ini = read_ini(path)
        sections = {name: dict(ini.section(name).values) for name in ini.names}
    else:
        sections = {}
    if "decoder_layers" in given:
        given["num_layer"] = given.pop("decoder_layers")
    if given:
        sections["gpt"] = sections.get("gpt", {}) | given
    return Ini(sections, str(path))


def _position_rows(directory: Path, ini: Ini) -> int:
    """Return how many rows the file of positions has, 0 if it is missing or its size is not a whole number of rows."""
    section = Ini({"gpt": ini.section("gpt").values}, ini.source).section("gpt")  # its problems are reported elsewhere
    data_type = section.text("weight_data_type", default="fp32")
    row = (
        section.integer("head_num") * section.integer("size_per_head") * DTYPES.get(data_type, DTYPES["fp32"]).itemsize
    )
    path = directory / f"model.wpe{SUFFIX}"
    size = path.stat().st_size if path.is_file() else 0
    return size // row if size % row == 0 else 0


def _has_own_head(directory: Path) -> bool:
    """Return whether there is a head that differs from the token table.

    Converters also write the head of tied models; the same numbers need not be in memory twice.
    """
    head, table = directory / f"{t5.HEAD}{SUFFIX}", directory / f"shared.weight_T{SUFFIX}"
    return head.is_file() and not (table.is_file() and filecmp.cmp(head, table, shallow=False))


def _ways(directory: Path, description: Description) -> int:
    names = expected_shapes(description.spec)
    return count_ways(directory, (found for name in names if (found := place(description.table, name)) is not None))
