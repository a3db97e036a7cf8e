"""The work of `tritonc`: compile an export, and return what the command prints."""

from __future__ import annotations

from pathlib import Path

from slipway.checkpoints.tensor2tensor.export import read_trained
from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.cli.jobs.conversion import stager, summary
from slipway.cli.tensor2tensor.compiler_flags import COMMAND, compile_options, node_warnings
from slipway.cli.tensor2tensor.flags import read_flags
from slipway.convert.conversion import convert


def work(job: Job, console: Console) -> str:
    """Warn of names that match nothing, compile, and return the report as text."""
    flags = read_flags(COMMAND, job.words)
    export = Path(job.source)
    if not job.lost:  # the first time
        for warning in node_warnings(flags, read_trained(export).settings):
            console.warn(f"warning: {warning}")
    options = compile_options(flags, job.words, lost=job.lost, isolation=job.isolation)
    return summary(convert(export, options, console.step, stage=stager(console)), options.repository)
