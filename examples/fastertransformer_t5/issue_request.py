"""Sends a request from a JSON file, as FasterTransformer's tools/issue_request.py does, and prints the answer.

    issue_request.py [request.json] [--params JSON] [-t]

`slipway infer --request` does the work: HTTP or gRPC, streamed or not, as the file's "config" says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slipway.cli.main import main as slipway


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the request; return 0 if it was answered (with -t: with one more token each time)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_name", nargs="?", default="sample_request.json", help="default: sample_request.json")
    parser.add_argument("-p", "--params", default="", help='JSON to merge into the file, for example {"config": {...}}')
    parser.add_argument("-t", "--test", action="store_true", help="fail unless each streamed answer has one more token")
    options = parser.parse_args(arguments)
    if not Path(options.file_name).is_file():
        print(f"error: request file '{options.file_name}' does not exist", file=sys.stderr)
        return 1
    words = ["infer", "--request", options.file_name]
    words += ["--params", options.params] if options.params else []
    words += ["-t"] if options.test else []
    return slipway(words)


if __name__ == "__main__":
    sys.exit(main())
