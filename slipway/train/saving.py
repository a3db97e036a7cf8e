"""Saves and restores a training: weights under tensor2tensor's names, and beside them what only training needs.

The weights are written first, then the optimiser's state, then the pointer to both. A full disk or a kill in between
leaves the checkpoint before it as the newest one. Imports torch at once.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import torch

from slipway.backends.shared.files import ZIP_ERRORS
from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.training_checkpoint import (
    keep_newest,
    newest_step,
    point_to,
    remove,
    save_weights,
    state_path,
)
from slipway.errors import SlipwayError, invalid, shown, unavailable
from slipway.train.loader import Position
from slipway.train.network.network import TrainingNetwork
from slipway.train.network.parameters import stored_parameters, to_stored

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come: updates made, and the position of the next batch."""

    step: int = 0
    position: Position = field(default_factory=Position)


@dataclass(frozen=True, slots=True)
class CheckpointDirectory:
    """The checkpoints of an output directory, at most `keep` of them."""

    path: Path
    keep: int

    def newest(self) -> int | None:
        """Return the step of the newest complete checkpoint, None if there is none."""
        return newest_step(self.path)

    def save(self, network: TrainingNetwork, optimiser: torch.optim.Optimizer, progress: Progress, seed: int) -> None:
        """Write a checkpoint, make it the newest, and remove the oldest.

        Raise UNAVAILABLE if it cannot be written: the one before it stays the newest.
        """
        values = {name: value.detach().cpu().numpy() for name, value in network.weights.items()}
        before = self.newest()
        try:
            save_weights(self.path, progress.step, to_stored(values, network.hparams, network.vocabulary))
            self._save_state(optimiser, progress, seed)
            point_to(self.path, progress.step)
        except SlipwayError as error:
            if before != progress.step:
                remove(self.path, [progress.step])
            kept = "no checkpoint was saved before" if before is None else f"the checkpoint of step {before} is intact"
            raise SlipwayError(error.code, f"step {progress.step} is not saved: {error.message}; {kept}") from error
        keep_newest(self.path, self.keep)

    def restore_weights(self, network: TrainingNetwork) -> None:
        """Load the newest checkpoint's weights, TensorFlow's or ours."""
        load_weights(network, self.path)

    def restore_state(self, optimiser: torch.optim.Optimizer, seed: int) -> Progress:
        """Load the newest checkpoint's optimiser, and return how far its training had come.

        Raise INVALID_ARG if it belongs to other hyper-parameters or another seed, or is damaged. A checkpoint without a
        state, as tensor2tensor writes it, has its step and an optimiser without memory.
        """
        step = self.newest() or 0
        path = state_path(self.path, step)
        if not path.exists():
            return Progress(step)
        state = _read_state(path)
        if state["seed"] != seed:
            raise invalid(f"'{path}' was trained with --random_seed={state['seed']}, not {seed}: use the same seed")
        kind = type(optimiser).__name__
        if state["optimiser"] != kind:
            raise invalid(f"'{path}' belongs to the optimiser {state['optimiser']}, not {kind}: use the same one")
        # the settings are those of the hyper-parameters now, which may have changed
        optimiser.load_state_dict({"state": state["memory"], "param_groups": optimiser.state_dict()["param_groups"]})
        return Progress(state["step"], Position(*state["position"]))

    def _save_state(self, optimiser: torch.optim.Optimizer, progress: Progress, seed: int) -> None:
        state = {
            "format": _FORMAT,
            "step": progress.step,
            "position": list(asdict(progress.position).values()),
            "seed": seed,
            "optimiser": type(optimiser).__name__,
            "memory": optimiser.state_dict()["state"],
        }
        path = state_path(self.path, progress.step)
        with atomic_file(path) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's own writer says so when the disk is full
                raise unavailable(f"'{path}' cannot be written: {error}") from error


def load_weights(network: TrainingNetwork, checkpoint: Path) -> None:
    """Load the weights of a checkpoint: a directory, a prefix or a file, TensorFlow's or ours."""
    values = stored_parameters(checkpoint, network.hparams, network.vocabulary)
    with torch.no_grad():
        for name, value in network.weights.items():
            value.copy_(values[name])


def broken_parameters(network: TrainingNetwork) -> list[str]:
    """Return the names of the parameters with a number that is infinite or NaN."""
    return [name for name, value in network.weights.items() if not bool(torch.isfinite(value).all())]


def _read_state(path: Path) -> dict[str, Any]:
    _check_state(path)
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise invalid(f"'{path}' is damaged: {error}") from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise invalid(f"'{path}' is not a training state of this version")
    return state


def _check_state(path: Path) -> None:
    """Compare the checksums in the file, an uncompressed zip archive, which torch writes but does not read."""
    try:
        with ZipFile(path) as archive:
            wrong = archive.testzip()
    except ZIP_ERRORS as error:
        raise invalid(f"'{path}' is damaged or cut short: {error}") from None
    if wrong is not None:
        raise invalid(f"'{path}' is damaged: its part '{shown(wrong)}' has a wrong checksum")
