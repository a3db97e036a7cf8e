"""Run a conversion in a child: show its steps, stage what it writes, and go on without a candidate that ended it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec

from slipway.checkpoints.packed.adapter import named_base
from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.confined.process import ChildDiedError, run_job
from slipway.cli.library_output import apart_from_libraries
from slipway.cli.progress import progress
from slipway.convert.hub import is_hub_id, locate
from slipway.convert.staging import staged
from slipway.convert.steps import Show, Steps


@dataclass(frozen=True, slots=True)
class ConversionRun:
    """A conversion: where from, where to, and how it is shown and limited. `base` is that of an adapter, "" for the one
    that it names."""

    source: str
    repository: Path
    limits: Limits
    overwrite: bool = False
    verbose: bool = False
    base: str = ""


def run_conversion(job: Job, run: ConversionRun, steps: Show | None = None) -> str:
    """Do the job, and return what it reports. Nothing is written if it fails or is interrupted.

    `steps` is called with each step; without it, standard error shows them.
    """
    with (
        _shown(run) as stream,
        progress(stream, verbose=run.verbose) if steps is None else nullcontext(steps) as show,
    ):

        @contextmanager
        def stage(names: Sequence[str]) -> Iterator[Path]:
            with staged(run.repository, names, overwrite=run.overwrite) as (new, _):
                yield new.parent

        console = LocalConsole(print, lambda text: print(text, file=stream), show, stage)
        if not run.limits.in_process:  # the child has no network
            job = _fetched(job, run, Steps(show))
        return _without_lost(job, run, console)


def _fetched(job: Job, run: ConversionRun, steps: Steps) -> Job:
    """Return the job with the local paths of what is on a hub: the source, and the base of an adapter."""
    if is_hub_id(run.source):
        path, origin = locate(run.source, steps, verbose=run.verbose)
        job = msgspec.structs.replace(job, source=str(path), origin=origin)
    base = named_base(Path(job.source or run.source), run.base)
    if is_hub_id(base):
        path, _ = locate(base, steps, verbose=run.verbose)
        job = msgspec.structs.replace(job, base=str(path))
    return job


def _without_lost(job: Job, run: ConversionRun, console: LocalConsole) -> str:
    """Do the job; if the child dies on a candidate, such as one whose graph crashes the library that runs it, do it
    again without that candidate."""
    lost: dict[str, str] = {}
    while True:
        try:
            again = msgspec.structs.replace(job, lost=lost)
            return run_job(again, run.limits, console, subject=run.source, quiet=not run.verbose)
        except ChildDiedError as death:
            if not death.candidate or death.candidate in lost:
                raise
            lost = {**lost, death.candidate: death.how}


@contextmanager
def _shown(run: ConversionRun) -> Iterator[TextIO]:
    """Yield the stream for the progress; hold back what libraries print in this process, if they work here."""
    if not run.limits.in_process:
        yield sys.stderr
        return
    with apart_from_libraries(verbose=run.verbose) as stream:
        yield stream
