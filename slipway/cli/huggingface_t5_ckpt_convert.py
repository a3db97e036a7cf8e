"""Convert a Hugging Face T5 to a FasterTransformer checkpoint, with the options of FasterTransformer 5's converter of
the same name.

The model is read in a child (confined/); this module fetches it, places the files and prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from slipway.checkpoints.fastertransformer.staging import staged
from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.limits import FLAGS, Limits
from slipway.cli.confined.messages import Job
from slipway.cli.confined.process import run_job
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.t5_flags import CURRENT, parse
from slipway.convert.hub import fetch, is_hub_id

_WORK: Final = "slipway.cli.jobs.t5"


def run(arguments: Sequence[str]) -> int:
    """Write `<saved_dir>/<N>-gpu`; print the arguments and the time taken; return 0 on success."""
    return convert_t5(CURRENT, arguments)


def convert_t5(command: str, arguments: Sequence[str]) -> int:
    """Convert as `command` does, printing the banner and the time as the original does; return 0 on success."""
    started = monotonic()
    given = parse(command, arguments)
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    print("\n=============== Argument ===============")
    for name, value in vars(given).items():
        if name not in FLAGS:
            print(f"{name}: {value}")
    print("========================================")
    source = str(fetch(given.in_file)) if is_hub_id(given.in_file) else given.in_file
    console = LocalConsole(print, lambda text: print(text, file=sys.stderr), stage=_stage)
    print(run_job(Job(_WORK, (command, *arguments), source), Limits.of(given), console, subject=given.in_file))
    print(f"[INFO] Spend {timedelta(seconds=monotonic() - started)} (h:m:s) to convert the model")
    return 0


@contextmanager
def _stage(names: Sequence[str]) -> Iterator[Path]:
    """Yield the directory that becomes the one path in `names`."""
    with staged(Path(names[0])) as directory:
        yield directory
