"""The settings of an ECLAIR deployment, from the variables that its compose file reads: `ECLAIR_*` in `.env`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from slipway.errors import invalid, shown

PREFIX: Final = "ECLAIR_"
CHECKPOINT_DIR: Final = "ECLAIR_CHECKPOINT_DIR"
CHECKPOINT_NAME: Final = "ECLAIR_CHECKPOINT_NAME"
MODEL_DIR: Final = "ECLAIR_MODEL_DIR"
BATCH_SIZE: Final = "ECLAIR_BATCH_SIZE"
SETTINGS: Final = (CHECKPOINT_DIR, CHECKPOINT_NAME, MODEL_DIR, BATCH_SIZE)
# Where clients find the server: without effect on the server itself.
IGNORED: Final = ("ECLAIR_TRITON_HOST", "ECLAIR_TRITON_PORT", "ECLAIR_GRPC_TRITON")
_DEFAULT_BATCH: Final = 16
_LARGEST_BATCH: Final = 1024  # 4 GiB of images


@dataclass(frozen=True, slots=True)
class EclairSettings:
    """Where the checkpoint and the model repository are, and the maximum batch size; `ignored` names the variables
    that were set and concern clients alone."""

    checkpoint_dir: Path
    checkpoint_name: str
    model_dir: Path
    batch_size: int = _DEFAULT_BATCH
    ignored: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Path:
        """Return the path of the checkpoint."""
        return self.checkpoint_dir / self.checkpoint_name

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> EclairSettings:
        """Return the settings in an environment; raise INVALID_ARG with every problem of its ECLAIR_ variables.

        A variable that is empty counts as not set, because compose passes variables that nobody set as empty.
        """
        given = {name: text for name, text in environment.items() if name.startswith(PREFIX) and text}
        problems = [_unknown(name) for name in sorted(given) if name not in {*SETTINGS, *IGNORED}]
        problems += [f"{name} is not set" for name in SETTINGS[:3] if name not in given]
        checkpoint = given.get(CHECKPOINT_NAME, "checkpoint")
        if Path(checkpoint).name != checkpoint or checkpoint == "..":
            problems.append(f"{CHECKPOINT_NAME} is '{shown(checkpoint)}', expected a name without directories")
        batch = given.get(BATCH_SIZE, str(_DEFAULT_BATCH))
        valid = batch.isascii() and batch.isdecimal() and len(batch) <= 4 and 1 <= int(batch) <= _LARGEST_BATCH
        if not valid:
            problems.append(f"{BATCH_SIZE} is '{shown(batch)}', expected a whole number from 1 to {_LARGEST_BATCH}")
        if problems:
            raise invalid(f"settings of ECLAIR: {'; '.join(problems)}")
        ignored = tuple(name for name in IGNORED if name in given)
        return cls(Path(given[CHECKPOINT_DIR]), checkpoint, Path(given[MODEL_DIR]), int(batch), ignored)


def _unknown(name: str) -> str:
    near = get_close_matches(name, SETTINGS, n=1)
    advice = f"did you mean {near[0]}?" if near else f"known ones are {', '.join(SETTINGS)}"
    return f"{shown(name)} is unknown: {advice}"
