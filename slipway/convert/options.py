"""The options of a conversion, as one frozen object, and the type of its progress callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slipway.convert.directory import Task
from slipway.convert.thresholds import BALANCED

AUTO: Final = "auto"
LENGTHS: Final = (32, 128)
HYPOTHESIS: Final = "This example is {}."  # the default of the zero-shot pipeline in transformers

Progress = Callable[[str], None]  # called with what begins, a few words


@dataclass(frozen=True, slots=True)
class CompileSettings:
    """What `tritonc` adds to a conversion: the number of the version, the deadline of a candidate's first batch in
    seconds, and parameters to record in the config."""

    version: int = 1
    first_batch_s: float | None = None
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """The options of one conversion; `inputs` declares the inputs of a TorchScript file as NAME:TYPE:DIMS."""

    name: str
    repository: Path
    engine: str = AUTO
    precision: str = AUTO
    task: Task | None = None
    lengths: tuple[int, ...] = LENGTHS
    calibration: Path | None = None
    sample: Path | None = None  # typical inputs of an ONNX or torch file, .npz
    inputs: tuple[str, ...] = ()
    base: str = ""  # the base of a LoRA adapter; "": the one that its configuration names
    hypothesis: str = HYPOTHESIS
    source_language: str = ""  # of a translation model; "": the tokenizer's own
    labels: tuple[str, ...] = ()  # of a page-element detector, in the order of its classes
    max_batch_size: int | None = None  # of a model that reads images; None: that of every model
    accept: bool = False
    compare: bool = False
    overwrite: bool = False
    dry_run: bool = False
    command: str = ""  # the command line that repeats it, for the report
    accuracy: str = BALANCED
    verbose: bool = False  # let the libraries print their warnings
    lost: Mapping[str, str] = field(default_factory=dict)  # labels of candidates that must not be tried -> the reason
    isolation: str = ""  # of the process that converts, for the report
    compilation: CompileSettings = CompileSettings()  # of a model of tensor2tensor
