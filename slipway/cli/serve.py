"""`slipway serve [SOURCE ...]`: a server with tritonserver's flags, log lines and exit codes. What is not a model
repository is converted first (sources/)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from slipway.cli.interruption import ended_by_sigint
from slipway.cli.log_format import install_logging
from slipway.cli.sources.preparing import prepared_sources
from slipway.config.environment import environment_warnings
from slipway.config.exposure import exposure_warnings
from slipway.config.option_report import option_lines
from slipway.config.options import ServerOptions, fronts, parse_options
from slipway.core.log_settings import LogSettings

_LOG: Final = logging.getLogger("slipway.cli")


def run(arguments: Sequence[str]) -> int:
    """Convert what is not a repository, serve until a signal arrives; return 0, or 1 if start-up failed.

    Raise the error of a conversion.
    """
    options = parse_options(arguments)
    if options.show_options:
        print("\n".join(option_lines(options)))
        for warning in options.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return 0
    log_settings = LogSettings(
        file=options.log_file,
        info=options.log_info,
        warning=options.log_warning,
        error=options.log_error,
        verbose=options.log_verbose,
        format=options.log_format,
    )
    install_logging(log_settings)
    named = (*options.warnings, *environment_warnings(os.environ), *exposure_warnings(fronts(options)))
    for warning in (*named, *_uncompiled(options.model_repository)):
        _LOG.warning("%s", warning)
    with prepared_sources(options, partial(_check_ports, options)) as prepared:
        with ended_by_sigint():
            import uvloop  # after the options: --help and mistakes need no event loop

            from slipway import server
            from slipway.cli.sources.launch import Launch

        return uvloop.run(server.run(prepared.options, log_settings, Launch(prepared)))


def _check_ports(options: ServerOptions) -> None:
    """Raise UNAVAILABLE for a port that somebody else has: better now than after a conversion."""
    from slipway.server import check_ports

    check_ports(options)


def _uncompiled(repositories: Sequence[Path]) -> Iterator[str]:
    """Yield what to do about repositories that `tritonc` would write from an export of tensor2tensor."""
    for path in repositories:
        if not path.is_dir():
            from slipway.checkpoints.tensor2tensor.export import find_export

            export = find_export(path)
            if export is not None:
                yield f"'{export}' is not compiled yet: tritonc --savedmodel_directory={path}"
