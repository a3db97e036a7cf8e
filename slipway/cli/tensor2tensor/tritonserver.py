"""`tritonserver`: `slipway serve` under the name of the server whose flags it has."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.cli import serve
from slipway.cli.tensor2tensor.flags import version_line


def run(arguments: Sequence[str]) -> int:
    """Print the version, or serve as `slipway serve` does and return its exit code."""
    if "--version" in arguments:
        print(version_line("tritonserver"))
        return 0
    return serve.run(arguments)
