"""`t2t-datagen`: a problem's vocabulary and shards of encoded pairs, from text files that are there or downloaded."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.progress import progress
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.config.flags import BOOLEAN, TEXT, Kind, whole
from slipway.train.datagen import DEFAULT_SEED, DatagenOptions, GeneratedData, GeneratedSplit, generate_data
from slipway.train.problems import TranslationProblem, find_problem, problem_names

_REPORT_S: Final = 10.0  # between two lines of progress without a terminal
_DIRECTORY: Final = Kind("DIRECTORY", str)
_HERE: Final = "all files are made by one process"


@dataclass(frozen=True, slots=True)
class DatagenFlags:
    """The flags of `t2t-datagen`."""

    problem: str = flag("", TEXT, "problem to make the data of; NAME_rev has the same data as NAME")
    data_dir: str = flag("", _DIRECTORY, "directory for the vocabulary and the shards; created if it is missing")
    tmp_dir: str = flag("/tmp/t2t_datagen", _DIRECTORY, "directory of the text files and downloads")  # noqa: S108
    t2t_usr_dir: str = flag("", _DIRECTORY, "directory with problems.toml, which describes your own problems")
    num_shards: int = flag(0, whole(0, 1000), "shards of training data; 0 is the problem's own number, mostly 100")
    max_cases: int = flag(0, whole(), "pairs of each split at most; 0 is all")
    random_seed: int = flag(DEFAULT_SEED, whole(), "seed of the order of the pairs")
    only_list: bool = flag(False, BOOLEAN, "list the problems and exit")


COMMAND: Final = AbslCommand(
    "t2t-datagen",
    "Make a translation problem's vocabulary and its shards of training and development data. What is there is kept.",
    DatagenFlags,
    ignored={
        "task_id": _HERE,
        "task_id_start": _HERE,
        "task_id_end": _HERE,
        "num_concurrent_processes": _HERE,
        "exclude_problems": "only one problem is made at a time",
    },
)


def run(arguments: Sequence[str]) -> int:
    """Make the data and print what it consists of; return 0, or 2 if a flag is missing."""
    flags = read_flags(COMMAND, arguments)
    usr_dir = Path(flags.t2t_usr_dir).expanduser() if flags.t2t_usr_dir else None
    if flags.only_list:
        print("\n".join(problem_names(usr_dir)))
        return 0
    missing = [name for name in ("problem", "data_dir") if not getattr(flags, name)]
    if missing:
        names = " and ".join(f"--{name}" for name in missing)
        print(f"error: {names} must be given; problems: {', '.join(problem_names(usr_dir))}", file=sys.stderr)
        return 2
    problem = find_problem(flags.problem, usr_dir)
    options = DatagenOptions(
        Path(flags.data_dir).expanduser(),
        Path(flags.tmp_dir).expanduser(),
        shards=flags.num_shards,
        seed=flags.random_seed,
        max_pairs=flags.max_cases,
    )
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    logging.getLogger("slipway.train").setLevel(logging.INFO)
    data = generate(problem, options)
    print(f"vocabulary: {data.vocabulary} ({data.vocabulary_size} subtokens)")
    for split in data.splits:
        print(f"{split.split}: {_described(split)}")
    return 0


def generate(problem: TranslationProblem, options: DatagenOptions) -> GeneratedData:
    """Make what is missing of a problem's data, and show how far it is on standard error."""
    bar = sys.stderr.isatty()
    with progress(sys.stderr) if bar else nullcontext(_print_step) as show:
        return generate_data(problem, options, _Shown(show, every=0.0 if bar else _REPORT_S))


def _described(split: GeneratedSplit) -> str:
    files = f"{split.files[0]} ... ({len(split.files)} shards)" if len(split.files) > 1 else str(split.files[0])
    if split.pairs is None:
        return f"{files}, kept as it was"
    left_out = f"; {split.blank} left out because a side is blank" if split.blank else ""
    return f"{files}, {split.pairs} pairs{left_out}"


@dataclass(frozen=True, slots=True)
class DatagenStep:
    """What is being done, how far it is, and of how much (0: not known)."""

    what: str
    done: int
    total: int

    def after(self, seconds: float) -> str:
        """Return the step as text, when it has run for some seconds."""
        share = f" of {self.total}" if self.total else ""
        rate = f", {self.done / seconds:.0f}/s" if seconds >= 1 else ""
        return f"{self.what}: {self.done}{share}{rate}"


class _Shown:
    """Passes steps on, at most one in `every` seconds."""

    def __init__(self, show: Callable[[Any], None], *, every: float) -> None:
        self._show, self._every = show, every
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self._show(DatagenStep(what, done, total))


def _print_step(step: DatagenStep) -> None:
    print(step.after(0), file=sys.stderr, flush=True)
