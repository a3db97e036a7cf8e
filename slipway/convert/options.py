"""What a conversion is asked for, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.convert.encoders.source import HYPOTHESIS, Task
from slipway.convert.encoders.variants import AUTO

LENGTHS: Final = (32, 128)


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """The options of one conversion; `inputs` are declarations NAME:TYPE:DIMS of a TorchScript's inputs."""

    name: str
    repository: Path
    engine: str = AUTO
    precision: str = AUTO
    task: Task | None = None
    lengths: tuple[int, ...] = LENGTHS
    calibration: Path | None = None
    inputs: tuple[str, ...] = ()
    hypothesis: str = HYPOTHESIS
    accept: bool = False
    compare: bool = False
    overwrite: bool = False
    dry_run: bool = False
    compute_type: str = AUTO  # of models that generate
    command: str = ""  # how to do it again, for the report
