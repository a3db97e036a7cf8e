"""Detect the kind of a torch file from its table of contents, before torch reads it.

A pickle runs code when it is loaded. TorchScript has its own restricted reader; every part of a torch.export archive
that would be unpickled must first pass `weights_only`; plain checkpoints are refused.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Final

from slipway.backends.shared.files import ZIP_ERRORS, unreadable_graph
from slipway.errors import Code, SlipwayError, shown
from slipway.foreign_json import parse_foreign

_NEITHER: Final = "neither a TorchScript nor a torch.export file"


class TorchFile(Enum):
    """The torch files that can be served."""

    TORCHSCRIPT = "TorchScript"
    EXPORTED = "torch.export"


def kind_of(path: Path, model_name: str) -> TorchFile:
    """Return the kind of the file; raise INVALID_ARG, with what to do, for one that cannot be served."""
    with _opened(path, model_name) as archive:
        # every entry is inside one folder, which has the name that the file had when it was saved
        entries = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in entries and any(entry.startswith("code/") for entry in entries):
        return TorchFile.TORCHSCRIPT
    if any(entry.startswith("data/aotinductor/") for entry in entries):
        raise _refused(model_name, path, "compiled by AOTInductor, which is not supported")
    if any(entry.startswith("models/") for entry in entries):
        return TorchFile.EXPORTED
    if "data.pkl" in entries:
        raise _refused(model_name, path, "a checkpoint saved with torch.save: a pickle without the model's code")
    raise _refused(model_name, path, _NEITHER)


def refuse_pickles(path: Path, model_name: str) -> None:
    """Raise INVALID_ARG if reading a torch.export file would unpickle anything but tensors and plain values."""
    with _opened(path, model_name) as archive:
        for name in archive.namelist():
            if name.endswith("_config.json"):
                pickled = _uses_pickle(parse_foreign(archive.read(name), f"'{path.name}', {shown(name)}"))
            else:
                pickled = name.endswith(".pt") and not _only_tensors(archive.read(name))
            if pickled:
                raise _refused(model_name, path, "unsafe: it contains pickled objects, which can run code on loading")


@contextmanager
def _opened(path: Path, model_name: str) -> Iterator[zipfile.ZipFile]:
    """Yield the archive; raise INVALID_ARG if the file is not one, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except ZIP_ERRORS:
        raise _refused(model_name, path, _NEITHER) from None


def _uses_pickle(config: Any) -> bool:
    """Return whether a file of payloads says that one is pickled, or is not such a file."""
    payloads = config.get("config", {}) if isinstance(config, dict) else None
    if not isinstance(payloads, dict):
        return True
    return any(not isinstance(payload, dict) or payload.get("use_pickle") for payload in payloads.values())


def _only_tensors(data: bytes) -> bool:
    import torch

    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  any failure of the restricted reader means the unrestricted one would be used
        return False
    return True


def _refused(model_name: str, path: Path, what: str) -> SlipwayError:
    text = (
        f"unable to load model '{model_name}': '{path.name}' is {what}. Save the model with "
        f"torch.export.save(torch.export.export(...)) or as TorchScript."
    )
    return unreadable_graph(text, Code.INVALID_ARG)
