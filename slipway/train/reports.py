"""What a training reports, as values, and who receives them. Text is made by the receivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StepReport:
    """One update. `tokens` counts both sides of its batches over all processes, without padding; `seconds` is the time
    since the update before it."""

    step: int
    last_step: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float


class TrainingReporter(Protocol):
    """Receives what happens in a training, in the thread that trains."""

    def trained(self, report: StepReport) -> None:
        """After each update."""

    def evaluated(self, step: int, figures: Mapping[str, float]) -> None:
        """After each evaluation."""

    def saved(self, step: int) -> None:
        """After each checkpoint."""

    def note(self, text: str) -> None:
        """A fact that a user should know, in one sentence."""


class Reporters:
    """Several receivers as one."""

    def __init__(self, *receivers: TrainingReporter) -> None:
        self._receivers = receivers

    def trained(self, report: StepReport) -> None:
        """After each update."""
        for each in self._receivers:
            each.trained(report)

    def evaluated(self, step: int, figures: Mapping[str, float]) -> None:
        """After each evaluation."""
        for each in self._receivers:
            each.evaluated(step, figures)

    def saved(self, step: int) -> None:
        """After each checkpoint."""
        for each in self._receivers:
            each.saved(step)

    def note(self, text: str) -> None:
        """A fact that a user should know."""
        for each in self._receivers:
            each.note(text)
