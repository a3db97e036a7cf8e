"""The weight files of a Hugging Face directory as one mapping, in any of the four layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway.checkpoints.huggingface.safetensors_file import open_safetensors
from slipway.checkpoints.huggingface.settings import read_json
from slipway.errors import invalid, shown
from slipway.transformer.weights import Array


def _open_torch(path: Path) -> dict[str, Array]:
    from slipway.checkpoints.huggingface.torch_file import open_torch  # torch takes seconds to import

    return open_torch(path)


# The name of a single file (with `.index.json` if it is split), and its reader; the first that exists is read.
_LAYOUTS: Final[tuple[tuple[str, Callable[[Path], dict[str, Array]]], ...]] = (
    ("model.safetensors", open_safetensors),
    ("pytorch_model.bin", _open_torch),
)


def has_weight_files(directory: Path) -> bool:
    """Return whether a directory has weights that `open_weight_files` opens."""
    names = [each for name, _ in _LAYOUTS for each in (name, f"{name}.index.json")]
    return any((directory / name).is_file() for name in names)


def open_weight_files(directory: Path) -> dict[str, Array]:
    """Return every array of the directory by its stored name, unread; raise INVALID_ARG when there are none."""
    for name, opener in _LAYOUTS:
        if (directory / name).is_file():
            return opener(directory / name)
        if (directory / f"{name}.index.json").is_file():
            return _open_parts(directory, f"{name}.index.json", opener)
    wanted = " or ".join(f"{name} or {name}.index.json" for name, _ in _LAYOUTS)
    raise invalid(f"'{directory}' has no weights: expected {wanted}")


def _open_parts(directory: Path, index: str, opener: Callable[[Path], dict[str, Array]]) -> dict[str, Array]:
    places = read_json(directory / index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(part, str) for part in places.values()):
        raise invalid(f"{directory / index}: expected a 'weight_map' of names to files")
    parts = sorted(set(places.values()))
    outside = [part for part in parts if Path(part).name != part]
    if outside:
        raise invalid(f"{directory / index}: '{shown(outside[0])}' is not a file in this directory")
    present = {path.name for path in directory.iterdir() if path.is_file()}
    absent = [part for part in parts if part not in present]
    if absent:
        raise invalid(f"'{directory}' lacks {len(absent)} of {len(parts)} files: {shown(', '.join(absent))}")
    arrays: dict[str, Array] = {}
    for part in parts:
        arrays |= opener(directory / part)
    lost = [name for name in places if name not in arrays]
    if lost:
        raise invalid(f"{index} names arrays that its files do not contain: {shown(', '.join(lost))}")
    return arrays
