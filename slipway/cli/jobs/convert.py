"""The work of `slipway convert`: convert, and return what the command prints."""

from __future__ import annotations

import shlex
from dataclasses import replace

from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.cli.convert_flags import convert_options, parse
from slipway.cli.jobs.conversion import stager, summary
from slipway.convert.conversion import convert


def work(job: Job, console: Console) -> str:
    """Convert, and return the report as JSON or as text."""
    given = parse(job.words, warn=False)
    command = shlex.join(["slipway", "convert", *job.words])
    options = convert_options(given, command, lost=job.lost, isolation=job.isolation)
    if job.base:
        options = replace(options, base=job.base)
    conversion = convert(job.source or given.source, options, console.step, origin=job.origin, stage=stager(console))
    return conversion.report.json().decode() if given.json else summary(conversion, given.repository)
