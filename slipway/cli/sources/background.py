"""The child process that converts the faster form of a model while its exact form is served.

Started as `python -m slipway.cli.sources.background PARENT`, with the `BackgroundJob` on standard input. It yields to
everything else on the machine, ends with the server, and exits with 0 when the form is in the cache, else with the
error as one line on standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from slipway.cli.confined.limits import bind_to_parent
from slipway.cli.interruption import exit_code, raise_on_sigterm
from slipway.cli.sources.cache import ConvertedCache
from slipway.cli.sources.converting import LocatedSource, convert_located
from slipway.cli.sources.kinds import Source, SourceKind
from slipway.cli.sources.request import ConversionRequest
from slipway.errors import SlipwayError

_NICE: Final = 19  # the server goes first


class BackgroundJob(msgspec.Struct, frozen=True):
    """What to convert, and the cache to convert it into."""

    text: str
    kind: SourceKind
    path: str
    origin: str
    content: str
    request: ConversionRequest
    cache: str

    @classmethod
    def of(cls, source: Source, located: LocatedSource, request: ConversionRequest, cache: Path) -> BackgroundJob:
        """Return the job for a located source."""
        return cls(source.text, source.kind, str(located.path), located.origin, located.content, request, str(cache))


def main() -> int:
    """Convert, and return the exit code."""
    os.nice(_NICE)
    raise_on_sigterm()
    bind_to_parent(int(sys.argv[1]), signal.SIGTERM)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=BackgroundJob)
    source = Source(job.text, job.kind, job.request.name)
    located = LocatedSource(Path(job.path), job.origin, job.content)
    try:
        convert_located(source, located, job.request, ConvertedCache(Path(job.cache))).release()
    except (SlipwayError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        return exit_code(interrupt)
    return 0


if __name__ == "__main__":
    sys.exit(main())
