"""A source that a wing has opened: what the flow of its candidates needs, and nothing about where it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway.convert.arrays import Arrays, Run
from slipway.convert.candidates.gate import Expectation
from slipway.convert.candidates.subject import Subject

# Returns what is wrong with a candidate of a precision that passed the common criteria.
AlsoJudge = Callable[[Run, Sequence[Expectation], str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """An opened source. `model` is the name of the model itself, `models` are the names of all models written, `taken`
    those that may be replaced; `write_around` writes everything except the model itself into a directory.

    `calibrate` returns the rows to quantise with, from the user's file or, for None, from `calibration_sample`, which
    the report names; `also_judge` adds criteria to the gate."""

    subject: Subject
    model: str
    models: tuple[str, ...]
    taken: tuple[str, ...]
    task: str
    labels: tuple[str, ...]
    write_around: Callable[[Path], object]
    calibrate: Callable[[Path | None], Sequence[Arrays]]
    calibration_sample: str
    notes: tuple[str, ...] = ()  # differences from the source, and unused settings
    also_judge: AlsoJudge | None = None

    def calibration(self, path: Path | None) -> str:
        """Return a description of the int8 calibration data for the report."""
        if path is None:
            return f"{self.calibration_sample} (no --calibration file given)"
        return f"the {'directory' if path.is_dir() else 'file'} {path}"
