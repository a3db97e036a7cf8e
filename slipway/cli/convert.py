"""Convert a checkpoint or model file to a verified, optimised model in a model repository.

The work is done in a child (confined/), which opens the foreign files; this module fetches, shows, stages and prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.conversion_run import ConversionRun, run_conversion
from slipway.cli.convert_flags import parse
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.output import for_reading

_WORK: Final = "slipway.cli.jobs.convert"


def run(arguments: Sequence[str]) -> int:
    """Convert; print what was compared, measured and chosen, and the next command; return 0 on success."""
    options = parse(arguments, warn=True)
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    conversion = ConversionRun(
        options.source, options.repository, Limits.of(options), options.overwrite, options.verbose, options.base
    )
    try:
        text = run_conversion(Job(_WORK, tuple(arguments)), conversion)
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)("nothing was written; the same command starts again") from None
    print(text if options.json else for_reading(text))
    return 0
