"""The flags that name a trained model, which tensor2tensor's commands share, and the model that they mean."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.decode_hparams import override_decoding
from slipway.checkpoints.tensor2tensor.export import (
    HPARAMS,
    TrainedModel,
    find_vocabulary,
    open_trained,
    read_decoding,
    read_hparams,
)
from slipway.checkpoints.tensor2tensor.hparams import HParams, named_hparams, override
from slipway.cli.tensor2tensor.flags import flag
from slipway.config.flags import DIRECTORY, TEXT, Kind
from slipway.errors import invalid, shown, unsupported
from slipway.train.problems import find_problem

MODEL: Final = "transformer"
PATH: Final = Kind("PATH", Path)
# Flags of the original commands for machines, TensorFlow and other jobs.
NO_TENSORFLOW: Final = "there is no TensorFlow here"
IGNORED: Final = {
    "use_tpu": NO_TENSORFLOW,
    "tpu_num_shards": NO_TENSORFLOW,
    "worker_gpu_memory_fraction": NO_TENSORFLOW,
    "worker_replicas": NO_TENSORFLOW,
    "worker_gpu": "--device names the device",
    "random_seed": "decoding does not draw random numbers",
    "tmp_dir": "no data is generated",
    "hparams_range": "hyper-parameters are not searched",
    "generate_data": "t2t-datagen generates data",
    "enable_graph_rewriter": NO_TENSORFLOW,
    "disable_grappler_optimizations": NO_TENSORFLOW,
}


@dataclass(frozen=True, slots=True)
class ModelFlags:
    """The flags that name a model, its problem and its decoding."""

    model: str = flag(MODEL, TEXT, "kind of the model; only transformer is supported", section="Model")
    hparams_set: str = flag("", TEXT, "set of hyper-parameters, if the checkpoint has no hparams.json", section="Model")
    hparams: str = flag("", TEXT, "hyper-parameters to change, as a=1,b=2", section="Model")
    output_dir: Path | None = flag(None, DIRECTORY, "directory that training wrote, or an export", section="Model")
    checkpoint_path: Path | None = flag(
        None,
        PATH,
        "checkpoint: a prefix such as DIR/model.ckpt-1000 (default: the newest of --output_dir)",
        section="Model",
    )
    problem: str = flag("", TEXT, "problem that the model was trained for", section="Problem")
    data_dir: Path | None = flag(None, DIRECTORY, "directory of the problem's vocabulary", section="Problem")
    t2t_usr_dir: Path | None = flag(None, DIRECTORY, "directory of own problems, in problems.toml", section="Problem")
    decode_hparams: str = flag("", TEXT, "decoding settings to change, as beam_size=4,alpha=0.6", section="Decoding")


def open_named(flags: ModelFlags) -> TrainedModel:
    """Return the model that the flags name.

    hparams.json beside the checkpoint replaces --hparams_set, and the vocabulary is that of --problem in --data_dir,
    or the one beside the checkpoint. Raise `SlipwayError` naming what is missing, unknown or damaged.
    """
    check_model(flags.model)
    directory = _directory(flags)
    checkpoint = flags.checkpoint_path or directory
    hparams = override(_hparams(flags, directory), flags.hparams)
    settings, facts = read_decoding(directory)
    vocabulary = _vocabulary(flags, directory)
    given = {"problem": flags.problem, "hparams_set": flags.hparams_set.partition("=")[0]}
    own = {name: value for name, value in given.items() if value}
    kept = {name: value for name, value in facts.items() if name != "step"}  # the checkpoint's own counts
    facts = {**kept, **own, "model": MODEL}
    return open_trained(checkpoint, hparams, vocabulary, override_decoding(settings, flags.decode_hparams), facts)


def check_model(name: str) -> None:
    """Raise `SlipwayError` unless a kind of model is supported."""
    if name == MODEL:
        return
    if get_close_matches(name, [MODEL], 1, cutoff=0.8):
        raise invalid(f"--model={shown(name)} is unknown: did you mean '{MODEL}'?")
    raise unsupported(f"--model={shown(name)} is not supported: only '{MODEL}' is")


def find_vocabulary_of(problem: str, data_dir: Path, usr_dir: Path | None) -> Path:
    """Return the path of a problem's vocabulary in its data directory; raise `SlipwayError` if it is unknown."""
    return data_dir / find_problem(problem, usr_dir).vocabulary_file


def _directory(flags: ModelFlags) -> Path:
    if flags.output_dir is not None:
        return flags.output_dir
    if flags.checkpoint_path is None:
        raise invalid("no model: --output_dir or --checkpoint_path is required")
    path = flags.checkpoint_path
    return path if path.is_dir() else path.parent


def _hparams(flags: ModelFlags, directory: Path) -> HParams:
    named = named_hparams(flags.hparams_set) if flags.hparams_set else None
    if (directory / HPARAMS).is_file():
        own = read_hparams(directory)
        if named is not None and named != own:
            print(f"warning: --hparams_set is ignored: '{directory / HPARAMS}' has other values", file=sys.stderr)
        return own
    if named is None:
        raise invalid(f"'{directory}' has no {HPARAMS}: --hparams_set is required")
    return named


def _vocabulary(flags: ModelFlags, directory: Path) -> Path:
    if flags.problem and flags.data_dir is not None:
        return find_vocabulary_of(flags.problem, flags.data_dir, flags.t2t_usr_dir)
    if flags.problem:
        find_problem(flags.problem, flags.t2t_usr_dir)
    return find_vocabulary(directory if flags.data_dir is None else flags.data_dir)
