"""Write small launchers, so that tensor2tensor's commands can be run by their own names; changes nothing else."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from slipway.cli.main import ALIASED
from slipway.cli.parser import CommandParser
from slipway.cli.tensor2tensor.launchers import install, remove


def run(arguments: Sequence[str]) -> int:
    """Write or remove the launchers, print their names and what to put on PATH; return 0 on success."""
    options = _parser().parse_args(arguments)
    directory: Path = options.directory
    if options.remove:
        paths = remove(directory, ALIASED)
        print(f"removed {', '.join(path.name for path in paths) or 'nothing'} from {directory}")
        return 0
    paths = install(directory, ALIASED)
    print(f"wrote {', '.join(path.name for path in paths)} to {directory}")
    if not _is_on_path(directory):
        print(f"to run them by name: export PATH={shlex.quote(str(directory.absolute()))}:$PATH")
    return 0


def _is_on_path(directory: Path) -> bool:
    return directory.absolute() in [Path(each) for each in os.environ.get("PATH", "").split(os.pathsep)]


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway install-aliases", description=__doc__)
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory to write to; created if it is missing")
    parser.add_argument("--remove", action="store_true", help="remove the launchers that were written to DIR")
    return parser
