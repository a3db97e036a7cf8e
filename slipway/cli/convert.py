"""Convert a checkpoint or model file to a verified, optimised model in a model repository.

The work is done in a child (confined/), which opens the foreign files; this module fetches, shows, stages and prints.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import msgspec

from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.confined.process import ChildDiedError, run_job
from slipway.cli.convert_flags import parse
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.library_output import apart_from_libraries
from slipway.cli.output import for_reading
from slipway.cli.progress import progress
from slipway.convert.hub import is_hub_id, locate
from slipway.convert.staging import staged
from slipway.convert.steps import Steps

_WORK: Final = "slipway.cli.jobs.convert"


def run(arguments: Sequence[str]) -> int:
    """Convert; print what was compared, measured and chosen, and the next command; return 0 on success."""
    options = parse(arguments, warn=True)
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    try:
        text = _convert(options, Job(_WORK, tuple(arguments)))
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)("nothing was written; the same command starts again") from None
    print(text if options.json else for_reading(text))
    return 0


def _convert(options: Namespace, job: Job) -> str:
    limits = Limits.of(options)
    with _shown(limits, verbose=options.verbose) as stream, progress(stream, verbose=options.verbose) as show:

        @contextmanager
        def stage(names: Sequence[str]) -> Iterator[Path]:
            with staged(options.repository, names, overwrite=options.overwrite) as (new, _):
                yield new.parent

        console = LocalConsole(print, lambda text: print(text, file=stream), show, stage)
        if is_hub_id(options.source) and not limits.in_process:  # the child has no network
            path, origin = locate(options.source, Steps(show), verbose=options.verbose)
            job = msgspec.structs.replace(job, source=str(path), origin=origin)
        return _without_lost(job, limits, console, options)


def _without_lost(job: Job, limits: Limits, console: LocalConsole, options: Namespace) -> str:
    """Do the job; if the child dies on a candidate, such as one whose graph crashes the library that runs it, do it
    again without that candidate."""
    lost: dict[str, str] = {}
    while True:
        try:
            again = msgspec.structs.replace(job, lost=lost)
            return run_job(again, limits, console, subject=options.source, quiet=not options.verbose)
        except ChildDiedError as death:
            if not death.candidate or death.candidate in lost:
                raise
            lost = {**lost, death.candidate: death.how}


@contextmanager
def _shown(limits: Limits, *, verbose: bool) -> Iterator[TextIO]:
    """Yield the stream for the progress; hold back what libraries print in this process, if they work here."""
    if not limits.in_process:
        yield sys.stderr
        return
    with apart_from_libraries(verbose=verbose) as stream:
        yield stream
