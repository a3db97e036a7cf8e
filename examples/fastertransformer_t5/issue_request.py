"""Sends a request written down as JSON, as FasterTransformer's tools/issue_request.py does, and prints the answer.

    issue_request.py [request.json] [--params JSON] [-t]

`slipway infer --request` does all of it: HTTP or gRPC, alone or streamed, as the file's "config" says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slipway.cli.main import main as slipway


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the request; 0 when it was answered (with -t: one token more each time)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_name", nargs="?", default="sample_request.json", help="default: sample_request.json")
    parser.add_argument("-p", "--params", default="", help='JSON merged into the file, such as {"config": {...}}')
    parser.add_argument("-t", "--test", action="store_true", help="fail unless each streamed answer has one token more")
    options = parser.parse_args(arguments)
    if not Path(options.file_name).is_file():
        print(f"error: there is no request file '{options.file_name}'", file=sys.stderr)
        return 1
    words = ["infer", "--request", options.file_name]
    words += ["--params", options.params] if options.params else []
    words += ["-t"] if options.test else []
    return slipway(words)


if __name__ == "__main__":
    sys.exit(main())
