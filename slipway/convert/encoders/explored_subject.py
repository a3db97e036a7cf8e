"""The part that all subjects without text share: what a conversion runs is taken from the explored graph."""

from __future__ import annotations

from slipway.convert.arrays import Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.convert.encoders.exploring import Explored


class ExploredSubject:
    """The base of the subjects that are explored by running them; each adds its exports to be a `subject.Subject`."""

    interface: Interface

    def __init__(self, explored: Explored) -> None:
        self._explored = explored
        self.interface = explored.interface

    def cases(self) -> list[Case]:
        """Return random values, or those of the sample, with several batch sizes and lengths."""
        return list(self._explored.sampler.cases())

    def reference(self, alone: Arrays) -> Arrays:
        """Run the source itself."""
        return self._explored.answer(alone)

    def sample(self, length: int, rows: int) -> Arrays:
        """Return rows of `length`, random or those of the sample."""
        return self._explored.sampler.sample(length, rows)

    def calibration(self) -> list[Arrays]:
        """Return single rows to calibrate quantisation, random or those of the sample."""
        return self._explored.sampler.calibration()
