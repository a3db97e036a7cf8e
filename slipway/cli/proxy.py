"""`slipway proxy`: a REST API with typed routes in front of a running server."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slipway.proxy.options import parse_options
from slipway.proxy.process import check_installed


def run(arguments: Sequence[str]) -> int:
    """Serve until a signal arrives; return 0, or 1 if start-up failed."""
    options = parse_options(arguments)
    check_installed()
    if options.warning:
        print(f"warning: {options.warning}", file=sys.stderr)
    from slipway.proxy.running import run_proxy

    return run_proxy(options, arguments)
