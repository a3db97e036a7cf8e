"""The mean of several checkpoints' weights, which often translates better than the last one alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.location import CheckpointFiles, list_checkpoints
from slipway.checkpoints.tensor2tensor.reader import StoredModel, open_stored
from slipway.checkpoints.tensor2tensor.training_checkpoint import point_to, save_weights
from slipway.errors import invalid, not_found

_COPIED: Final = ("hparams.json", "flags.txt", "flags_t2t.txt")


def average_checkpoints(directory: Path, output: Path, count: int) -> tuple[int, list[int]]:
    """Write the mean of the newest `count` checkpoints of `directory` to `output`, with the records of its training.

    Return the step of the mean, that of the newest one, and the steps that are in it. Raise NOT_FOUND if there is no
    checkpoint, INVALID_ARG if they have different arrays or one is damaged: nothing is written then.
    """
    if count < 1:
        raise invalid(f"--n={count}: expected a positive number of checkpoints")
    if output.resolve() == directory.resolve():
        raise invalid(f"--output_dir is the directory '{directory}' that holds the checkpoints: specify another")
    newest = _last_per_step(list_checkpoints(directory))[-count:]
    if not newest:
        raise not_found(f"'{directory}' does not have a checkpoint")
    models = [open_stored(files.prefix) for files in newest]
    _check_same(newest, models)
    arrays = {name: _mean(name, models) for name in models[0].arrays}
    step = newest[-1].step
    output.mkdir(parents=True, exist_ok=True)
    save_weights(output, step, arrays)
    for name in _COPIED:
        if (directory / name).is_file():
            shutil.copyfile(directory / name, output / name)
    point_to(output, step)
    return step, [files.step for files in newest]


def _last_per_step(files: Sequence[CheckpointFiles]) -> list[CheckpointFiles]:
    """Return one checkpoint per step: ours, if TensorFlow's is there too."""
    return list({each.step: each for each in files}.values())


def _check_same(files: Sequence[CheckpointFiles], models: Sequence[StoredModel]) -> None:
    shapes = [{name: array.shape for name, array in model.arrays.items()} for model in models]
    for other, given in zip(files, shapes, strict=True):
        if given != shapes[0]:
            name = next(each for each in (*shapes[0], *given) if shapes[0].get(each) != given.get(each))
            raise invalid(
                f"'{other.prefix}' and '{files[0].prefix}' are not checkpoints of one training: array '{name}' has "
                f"shape {given.get(name)} in one and {shapes[0].get(name)} in the other"
            )


def _mean(name: str, models: Sequence[StoredModel]) -> np.ndarray:
    total = np.zeros(models[0].arrays[name].shape, np.float64)
    for model in models:
        total += model.arrays[name].read()
    mean: np.ndarray = (total / len(models)).astype(np.float32)
    return mean
