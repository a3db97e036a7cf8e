"""TensorBoard event files of a training, written by the `tensorboard` package.

`<output>/` has the loss, the learning rate and the speed, `<output>/eval/` the figures on the dev split, under
tensor2tensor's tags.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from slipway.errors import unavailable
from slipway.installation import install_hint
from slipway.train.reports import StepReport

_EVERY: Final = 100  # steps between two points, as tensor2tensor's


class EventFiles:
    """The event files of one output directory; a reporter. `problem` is part of the tags."""

    def __init__(self, output: Path, problem: str, every: int = _EVERY) -> None:
        self._problem = problem
        self._every = every
        self._output = output
        self._train = _writer(output)
        self._eval = _writer(output / "eval")
        self._steps = self._tokens = 0
        self._seconds = 0.0

    def trained(self, report: StepReport) -> None:
        """Write a point of the curves after every hundredth update, the first and the last one."""
        self._steps, self._tokens = self._steps + 1, self._tokens + report.tokens
        self._seconds += report.seconds
        if report.step % self._every and report.step not in (1, report.last_step):
            return
        seconds = max(self._seconds, 1e-9)
        values = {
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "global_step/sec": self._steps / seconds,
            "tokens/sec": self._tokens / seconds,
        }
        with self._written():
            for tag, value in values.items():
                self._train.add_scalar(tag, value, report.step)
        self._steps = self._tokens = 0
        self._seconds = 0.0

    def evaluated(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of an evaluation."""
        with self._written():
            for name, value in figures.items():
                if math.isfinite(value):
                    tag = "loss" if name == "loss" else f"metrics-{self._problem}/targets/{name}"
                    self._eval.add_scalar(tag, value, step)
            self._eval.flush()

    def saved(self, step: int) -> None:
        """Bring everything to the disk."""
        del step
        with self._written():
            self._train.flush()

    def note(self, text: str) -> None:
        """Event files do not hold notes."""

    def close(self) -> None:
        """Close the files."""
        with self._written():
            self._train.close()
            self._eval.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"the event files in '{self._output}' cannot be written: {error.strerror or error}"
            raise unavailable(f"{what}; the checkpoints so far are kept") from None


def _writer(directory: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise unavailable(f"TensorBoard's event files need the package tensorboard: {install_hint('train')}") from None
    return SummaryWriter(str(directory))
