"""`tritonc`: an export becomes a verified entry of a model repository, with the flags of a compiler for servers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slipway.cli.confined.messages import Job
from slipway.cli.conversion_run import ConversionRun, run_conversion
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.output import for_reading
from slipway.cli.tensor2tensor.compiler_flags import COMMAND, child_limits, replaces
from slipway.cli.tensor2tensor.flags import read_flags
from slipway.convert.tensor2tensor.flow import find_translation
from slipway.errors import not_found

_WORK: Final = "slipway.cli.jobs.tritonc"


def run(arguments: Sequence[str]) -> int:
    """Compile; print what was compared, measured and chosen, and the next command; return 0 on success."""
    flags = read_flags(COMMAND, arguments)
    directory = flags.savedmodel_directory or Path()
    export = find_translation(directory)
    if export is None:
        raise not_found(f"there is no export in '{directory}' or above it: t2t-exporter writes one")
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    print(f"compiling {export}", file=sys.stderr)
    conversion = ConversionRun(str(export), directory, child_limits(flags), replaces(flags), flags.verbose)
    print(for_reading(run_conversion(Job(_WORK, tuple(arguments), source=str(export)), conversion)))
    print(f"or: tritonserver --model-repository={directory}")
    return 0
