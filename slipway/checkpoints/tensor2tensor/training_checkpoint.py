"""The checkpoints of an output directory in our own form, as training writes them and TensorFlow names them.

`model.ckpt-<step>.safetensors` are the weights under tensor2tensor's names, and `model.ckpt-<step>.state.pt`, if it is
there, what only training needs. `checkpoint` is the pointer, written last: a checkpoint that it names is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.location import (
    OWN_SUFFIX,
    POINTER,
    STATE_SUFFIX,
    find_checkpoint,
    list_checkpoints,
)
from slipway.checkpoints.tensor2tensor.weights_file import write_weights
from slipway.errors import Code, SlipwayError


def weights_path(directory: Path, step: int) -> Path:
    """Return the weight file of a step."""
    return directory / f"{_name(step)}{OWN_SUFFIX}"


def state_path(directory: Path, step: int) -> Path:
    """Return the file of a step's training state."""
    return directory / f"{_name(step)}{STATE_SUFFIX}"


def save_weights(directory: Path, step: int, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write the weights of a step and return their file; raise UNAVAILABLE if they cannot be written."""
    path = weights_path(directory, step)
    write_weights(path, arrays)
    return path


def point_to(directory: Path, step: int) -> None:
    """Make `step` the directory's newest checkpoint. All its files have to be there."""
    steps = sorted({*(each.step for each in list_checkpoints(directory) if each.own), step})
    known = "".join(f'all_model_checkpoint_paths: "{_name(each)}"\n' for each in steps)
    with atomic_file(directory / POINTER) as file:
        file.write(f'model_checkpoint_path: "{_name(step)}"\n{known}'.encode())


def newest_step(directory: Path) -> int | None:
    """Return the step that the pointer of a directory names, None if training did not save there yet.

    Raise INVALID_ARG for a damaged pointer, NOT_FOUND if the checkpoint that it names is gone.
    """
    if not (directory / POINTER).exists():
        return None
    return find_checkpoint(directory).step


def keep_newest(directory: Path, count: int) -> None:
    """Remove our own checkpoints but the newest `count` and the one that the pointer names."""
    own = [each for each in list_checkpoints(directory) if each.own]
    pointed = _pointed(directory)
    for files in own[: max(len(own) - count, 0)]:
        if files.step != pointed:
            remove(directory, [files.step])


def remove(directory: Path, steps: Sequence[int]) -> None:
    """Remove the files of some steps, as far as they are there."""
    for step in steps:
        for path in (weights_path(directory, step), state_path(directory, step)):
            with suppress(FileNotFoundError):
                path.unlink()


def _pointed(directory: Path) -> int | None:
    try:
        return newest_step(directory)
    except SlipwayError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return None


def _name(step: int) -> str:
    return f"model.ckpt-{step}"
