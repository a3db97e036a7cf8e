"""The work of `slipway convert-module`: run the script, read the checkpoint, convert and compare."""

from __future__ import annotations

from slipway.cli.confined.child import warn_of_network
from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.cli.convert_module_flags import module_options, parse
from slipway.cli.output import output_width
from slipway.convert.module.job import ModuleReporter, convert_module


def work(job: Job, console: Console) -> str:
    """Convert; what there is to say is said as it is done."""
    warn_of_network(job, console)
    options = module_options(parse(job.words))
    reporter = ModuleReporter(console.say, console.warn, output_width())
    convert_module(options, reporter, scratch_at=lambda path: console.stage([str(path)]), put=console.place)
    return ""
