"""`t2t-avg-all`: the mean of a training's newest checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.config.flags import Kind, whole
from slipway.train.averaging import average_checkpoints

_DIRECTORY: Final = Kind("DIR", str)
_WAITING: Final = "the checkpoints that are there are averaged, once"


@dataclass(frozen=True, slots=True)
class AverageFlags:
    """The flags of `t2t-avg-all`."""

    model_dir: str = flag("", _DIRECTORY, "directory with the checkpoints of a training")
    output_dir: str = flag("avg/", _DIRECTORY, "directory for the mean")
    n: int = flag(8, whole(1, 2**31 - 1), "number of checkpoints to average, the newest ones")


COMMAND: Final = AbslCommand(
    "t2t-avg-all",
    "Average the weights of the newest checkpoints of a training.",
    AverageFlags,
    required=("model_dir",),
    ignored=dict.fromkeys(("min_steps", "wait_minutes"), _WAITING),
)


def run(arguments: Sequence[str]) -> int:
    """Write the mean, print where it is, and return 0."""
    flags = read_flags(COMMAND, arguments)
    output = Path(flags.output_dir).expanduser()
    step, steps = average_checkpoints(Path(flags.model_dir).expanduser(), output, flags.n)
    print(f"'{output / f'model.ckpt-{step}'}': the mean of steps {', '.join(map(str, steps))}")
    return 0
