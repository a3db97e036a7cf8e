"""`t2t-trainer`: trains tensor2tensor's Transformer on a problem's data, with the original flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.hparam_sets import SETS
from slipway.checkpoints.tensor2tensor.hparams import HParams, named_hparams, nearest_text, override
from slipway.cli.interruption import ended_by_sigint, raise_on_sigterm
from slipway.cli.tensor2tensor.datagen import generate
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.cli.tensor2tensor.training_output import ConsoleReporter, StopSignals
from slipway.config.flags import BOOLEAN, TEXT, Kind, whole
from slipway.errors import invalid, shown
from slipway.train.corpora import make_directory
from slipway.train.datagen import DatagenOptions
from slipway.train.options import SCHEDULES, TrainingOptions
from slipway.train.problems import TranslationProblem, find_problem, problem_names

_DIRECTORY: Final = Kind("DIR", str)
_MODELS: Final = ("transformer",)
_COUNT: Final = whole(0, 2**62)
_DEFAULTS: Final = TrainingOptions(Path())
_IGNORED: Final = {  # flags of the original command, and why they have no effect
    name: reason
    for reason, names in {
        "there is no TPU support": "use_tpu cloud_tpu cloud_tpu_name cloud_delete_on_done tpu_num_shards "
        "iterations_per_loop",
        "each process trains on its own device; several are started with torchrun": "worker_replicas worker_id "
        "worker_job ps_replicas ps_job ps_gpu master sync gpu_order locally_shard_to_cpu worker_gpu_memory_fraction "
        "log_device_placement",
        "checkpoints are saved and evaluated every --local_eval_frequency steps": "save_checkpoints_secs "
        "keep_checkpoint_every_n_hours",
        "it belongs to TensorFlow": "profile dbgprofile tfdbg enable_graph_rewriter inter_op_parallelism_threads "
        "intra_op_parallelism_threads",
        "training ends at --train_steps": "eval_early_stopping_steps eval_early_stopping_metric "
        "eval_early_stopping_metric_delta eval_early_stopping_metric_minimize",
        "dev sentences are translated greedily": "decode_hparams",
        "there is no problem that reads it": "timit_paths parsing_path",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True, slots=True)
class TrainerFlags:
    """The flags of `t2t-trainer`."""

    model: str = flag("transformer", TEXT, "model to train")
    problem: str = flag("", TEXT, "problem to train on, such as translate_ende_wmt32k; with _rev in reverse")
    hparams_set: str = flag("", TEXT, "named set of hyper-parameters, such as transformer_base")
    hparams: str = flag("", TEXT, "changes to the set, such as batch_size=2048,learning_rate_constant=1.0")
    data_dir: str = flag("", _DIRECTORY, "directory of the vocabulary and shards that t2t-datagen makes")
    output_dir: str = flag("", _DIRECTORY, "directory of checkpoints, records and event files")
    t2t_usr_dir: str = flag("", _DIRECTORY, "directory with own problems, in problems.toml")
    train_steps: int = flag(_DEFAULTS.steps, _COUNT, "updates after which training ends")
    random_seed: int = flag(_DEFAULTS.seed, _COUNT, "seed of weights, batches and dropout")
    schedule: str = flag(_DEFAULTS.schedule, TEXT, f"what to do: {', '.join(SCHEDULES)}")
    warm_start_from: str = flag("", _DIRECTORY, "checkpoint whose weights a new training starts with")

    local_eval_frequency: int = flag(
        _DEFAULTS.save_every, _COUNT, "updates between checkpoints, each evaluated", section="Checkpoints"
    )
    eval_steps: int = flag(_DEFAULTS.eval_batches, _COUNT, "maximum number of dev batches", section="Checkpoints")
    keep_checkpoint_max: int = flag(_DEFAULTS.keep, _COUNT, "number of checkpoints to keep", section="Checkpoints")

    generate_data: bool = flag(False, BOOLEAN, "make missing data first, as t2t-datagen does", section="Data")
    tmp_dir: str = flag("/tmp/t2t_datagen", _DIRECTORY, "directory of the text that data is made from", section="Data")  # noqa: S108

    worker_gpu: int = flag(_DEFAULTS.gpus, _COUNT, "0: train on the CPU; 1: on a GPU, if there is one", section="Other")
    registry_help: bool = flag(False, BOOLEAN, "list models, problems and sets of hyper-parameters", section="Other")


COMMAND: Final = AbslCommand(
    "t2t-trainer",
    "Train a Transformer. A training that was interrupted continues from its newest checkpoint; Ctrl-C and SIGTERM "
    "save one and exit with code 0.",
    TrainerFlags,
    ignored=_IGNORED,
)
_NEEDED: Final = ("problem", "hparams_set", "data_dir", "output_dir")


def run(arguments: Sequence[str]) -> int:
    """Train; return 0, also if a signal ended the training early."""
    flags = read_flags(COMMAND, arguments)
    usr_dir = Path(flags.t2t_usr_dir).expanduser() if flags.t2t_usr_dir else None
    if flags.registry_help:
        print(_registry(usr_dir))
        return 0
    _check(flags)
    problem = find_problem(flags.problem, usr_dir)
    hparams = override(named_hparams(flags.hparams_set), flags.hparams)
    _train(flags, problem, hparams, _options(flags))
    return 0


def _train(flags: TrainerFlags, problem: TranslationProblem, hparams: HParams, options: TrainingOptions) -> None:
    with ended_by_sigint():
        from slipway.train.processes import joined_processes
        from slipway.train.training import Training
        from slipway.train.training_data import open_data
    from slipway.train.events import EventFiles
    from slipway.train.reports import Reporters

    data_dir = Path(flags.data_dir).expanduser()
    raise_on_sigterm()  # until there is a training to save
    with ExitStack() as stack:
        processes = stack.enter_context(joined_processes(options.gpus))
        if flags.generate_data and processes.first:
            generate(problem, DatagenOptions(data_dir, Path(flags.tmp_dir).expanduser()))
        processes.wait()
        data = open_data(data_dir, problem)
        stop = stack.enter_context(StopSignals())
        reporters = Reporters()
        if processes.first:
            make_directory(options.output)
            events = EventFiles(options.output, problem.full_name)
            stack.callback(events.close)
            reporters = Reporters(stack.enter_context(ConsoleReporter(sys.stderr)), events)
        training = Training(options, hparams, data, processes, reporters)
        text = _flag_lines(flags)
        done = training.run(stop.requested, {"flags.txt": text, "flags_t2t.txt": text})
    if not done and processes.first:
        print(f"stopped and saved in '{options.output}': the same command continues", file=sys.stderr)


def _check(flags: TrainerFlags) -> None:
    missing = [f"--{name} is missing" for name in _NEEDED if not getattr(flags, name)]
    if flags.model not in _MODELS:
        near = nearest_text(flags.model, _MODELS) or f": the models are {', '.join(_MODELS)}"
        missing.append(f"--model '{shown(flags.model)}' is unknown{near}")
    if missing:
        raise invalid("; ".join(missing))


def _options(flags: TrainerFlags) -> TrainingOptions:
    return TrainingOptions(
        output=Path(flags.output_dir).expanduser(),
        steps=flags.train_steps,
        eval_batches=flags.eval_steps,
        save_every=flags.local_eval_frequency,
        keep=flags.keep_checkpoint_max,
        schedule=flags.schedule,
        seed=flags.random_seed,
        gpus=flags.worker_gpu,
        warm_start=Path(flags.warm_start_from).expanduser() if flags.warm_start_from else None,
    )


def _flag_lines(flags: TrainerFlags) -> str:
    """Return the flags as tensor2tensor records them: --name=value, one a line."""
    return "".join(
        f"--{each.name}={getattr(flags, each.name)}\n" for each in sorted(fields(flags), key=lambda f: f.name)
    )


def _registry(usr_dir: Path | None) -> str:
    sections = {
        "Models": _MODELS,
        "HParams": sorted(SETS),
        "Problems": [form for name in problem_names(usr_dir) for form in (name, f"{name}_rev")],
        "Optimizers": ("adafactor", "adam", "multistep_adam", "true_adam"),
        "Schedules": SCHEDULES,
    }
    return "\n\n".join("\n".join([f"{title}:", *(f"  {name}" for name in names)]) for title, names in sections.items())
