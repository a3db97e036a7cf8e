"""What a conversion is asked for, as one frozen object, and how it says what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.convert.directory import Task

AUTO: Final = "auto"
LENGTHS: Final = (32, 128)
HYPOTHESIS: Final = "This example is {}."  # of the zero-shot pipeline of transformers

Progress = Callable[[str], None]  # is given what is done next


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
    sample: Path | None = None  # typical input of an ONNX or torch file, .npz
    inputs: tuple[str, ...] = ()
    hypothesis: str = HYPOTHESIS
    accept: bool = False
    compare: bool = False
    overwrite: bool = False
    dry_run: bool = False
    command: str = ""  # how to do it again, for the report
