"""Export models to LightSeq files, with the options of LightSeq's export scripts.

The model is read in a child (confined/); this module makes the entry of a repository, places the file and prints.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.checkpoints.lightseq.model_entry import make_entry
from slipway.cli.confined.console import LocalConsole
from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.confined.process import run_job
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.lightseq_flags import parse

_WORK: Final = "slipway.cli.jobs.lightseq"


def run(arguments: Sequence[str]) -> int:
    """Export a model; print where it is and the next command; return 0 on success."""
    given = parse(arguments)
    raise_on_sigterm()

    @contextmanager
    def stage(names: Sequence[str]) -> Iterator[Path]:
        if given.repository is None:
            with _beside(Path(names[0])) as directory:
                yield directory
        else:
            with _entry(given) as directory:
                yield directory

    console = LocalConsole(print, lambda text: print(text, file=sys.stderr), stage=stage)
    print(run_job(Job(_WORK, tuple(arguments)), Limits.of(given), console, subject=str(given.model)))
    return 0


@contextmanager
def _entry(given: Namespace) -> Iterator[Path]:
    """Yield a new entry of the model repository; remove it if the export fails."""
    entry = make_entry(given.repository, given.name)
    try:
        yield entry
    except BaseException:  # includes an interruption
        shutil.rmtree(entry)
        raise


@contextmanager
def _beside(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory whose files move into `directory` if the export succeeds."""
    with tempfile.TemporaryDirectory(prefix=".slipway-", dir=directory) as temporary:
        yield Path(temporary)
        for file in Path(temporary).iterdir():
            file.replace(directory / file.name)
