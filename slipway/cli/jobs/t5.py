"""The work of the two T5 converters: read the checkpoint, write the FasterTransformer files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.checkpoints.fastertransformer.sections import t5_configuration
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.cli.confined.child import warn_of_network
from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.cli.t5_flags import CURRENT, parse, write_options
from slipway.errors import invalid, unsupported

_MODEL_TYPES: Final = ("t5", "mt5")


def work(job: Job, console: Console) -> str:
    """Convert the model in `job.source`, and return how many files were written."""
    warn_of_network(job, console)
    command, *words = job.words
    given = parse(command, words)
    if command == CURRENT and given.verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s [%(levelname)s] %(message)s")
    options = write_options(command, given)
    checkpoint = read_huggingface(Path(job.source))
    if checkpoint.model_type not in _MODEL_TYPES:
        raise unsupported(f"'{given.in_file}' is a model of type '{checkpoint.model_type}', expected t5 or mt5")
    if checkpoint.spec.decoder is None and not options.encoder_only:
        raise invalid(
            f"'{given.in_file}' contains only an encoder; use slipway huggingface_t5_ckpt_convert --encoder_only"
        )
    target = Path(given.saved_dir) / f"{options.ways}-gpu"
    written = 0

    @contextmanager
    def stage(path: Path) -> Iterator[Path]:
        nonlocal written
        with console.stage([str(path)]) as directory:
            yield directory
            written = len(list(directory.iterdir()))

    write_fastertransformer(checkpoint, target, options, printed=t5_configuration(Path(job.source)), stage=stage)
    return f"[INFO] wrote {written} files to {target}"
