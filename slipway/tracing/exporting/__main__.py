"""The exporting process: settings in the first message of standard input, traces in the others."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

from slipway.tracing.exporting.messages import Reports, decode_settings, read_messages


def main() -> None:
    """Run until standard input ends, then write what is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the server: it closes this process when it is done
    batches = read_messages(sys.stdin.fileno())
    reports = Reports(sys.stdout.fileno())
    first = next(batches, [])
    if not first:
        return
    settings = decode_settings(first[0])

    def following() -> Iterator[list[bytes]]:
        if first[1:]:
            yield first[1:]
        yield from batches

    if settings.file:
        from slipway.tracing.exporting.file_export import export_to_files

        export_to_files(settings.file, following(), reports)
    else:
        from slipway.tracing.exporting.span_export import export_as_spans

        export_as_spans(settings, following(), reports)


if __name__ == "__main__":
    main()
