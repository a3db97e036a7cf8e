"""`slipway convert-module`: convert a PyTorch script and its checkpoint to ONNX, TensorRT and a model repository.

The script runs and the checkpoint is read in a child (confined/); this module stages, places and prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.confined.process import run_job
from slipway.cli.convert_module_flags import module_options, parse
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.output import for_reading
from slipway.convert.module.placement import place, scratch_near

_WORK: Final = "slipway.cli.jobs.convert_module"


def run(arguments: Sequence[str]) -> int:
    """Convert; report what was done and compared; return 0 if every requested stage that is possible here is done."""
    given = parse(arguments)
    subject = module_options(given).ckpt_path
    raise_on_sigterm()
    console = LocalConsole(_say, _warn, stage=_scratch, place=place)
    run_job(Job(_WORK, tuple(arguments)), Limits.of(given), console, subject=str(subject))
    return 0


@contextmanager
def _scratch(names: Sequence[str]) -> Iterator[Path]:
    """Yield a directory on the file system of the one path in `names`."""
    with scratch_near(Path(names[0])) as scratch:
        yield scratch


def _say(text: str) -> None:
    print(for_reading(text))


def _warn(text: str) -> None:
    print(for_reading(text, sys.stderr), file=sys.stderr)
