"""What a training is asked to do: the flags of `t2t-trainer` as values, without the files and corpora they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.hparams import nearest_text
from slipway.errors import invalid, shown

# --schedule -> (train, evaluate after each checkpoint, also translate the dev sentences each time, not only at the end)
SCHEDULES: Final[Mapping[str, tuple[bool, bool, bool]]] = {
    "continuous_train_and_eval": (True, True, False),
    "train_and_evaluate": (True, True, False),
    "train_eval_and_decode": (True, True, True),
    "train": (True, False, False),
    "evaluate": (False, True, True),
}


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The numbers and places of one training. Defaults are tensor2tensor's."""

    output: Path
    steps: int = 250_000
    eval_batches: int = 100
    save_every: int = 1000
    keep: int = 20
    schedule: str = "continuous_train_and_eval"
    seed: int = 1234
    gpus: int = 1
    warm_start: Path | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            near = nearest_text(self.schedule, SCHEDULES) or f": the schedules are {', '.join(SCHEDULES)}"
            raise invalid(f"--schedule '{shown(self.schedule)}' is unknown{near}")
        positive = {
            "train_steps": self.steps,
            "local_eval_frequency": self.save_every,
            "keep_checkpoint_max": self.keep,
        }
        others = {"eval_steps": self.eval_batches, "random_seed": self.seed}
        problems = [f"--{name}={value}: expected at least 1" for name, value in positive.items() if value < 1]
        problems += [f"--{name}={value}: expected at least 0" for name, value in others.items() if value < 0]
        if problems:
            raise invalid("; ".join(problems))
