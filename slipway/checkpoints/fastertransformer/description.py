"""The description that a family's module reads from a config.ini, and the features that all families refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slipway.checkpoints.fastertransformer.config_ini import Ini, Section
from slipway.checkpoints.fastertransformer.layout import Table
from slipway.errors import SlipwayError, unsupported
from slipway.transformer.spec import Activation, Transformer

MOST_LAYERS: Final = 4096  # more than any model has: a larger value is a mistake, and errors would list as many files
MOST_TASKS: Final = 4096
MOST_WAYS: Final = 1024
NORM_EPSILON: Final = 1e-5

P_TUNING: Final = 3  # prompt_learning_type: 0 none, 1 soft prompts in the request, 2 prefix, 3 stored tables
_PREFIX: Final = 2
_TASK_NAME: Final = re.compile(r"[^/\\\0]+")  # part of a file name

# The original's names; its GELU is always the tanh approximation, unlike Hugging Face's "gelu".
ACTIVATIONS: Final = {
    "relu": (Activation.RELU, False),
    "gelu": (Activation.GELU_TANH, False),
    "gelu_new": (Activation.GELU_TANH, False),
    "silu": (Activation.SILU, False),
    "gated-relu": (Activation.RELU, True),
    "reglu": (Activation.RELU, True),
    "gated-gelu": (Activation.GELU_TANH, True),
    "geglu": (Activation.GELU_TANH, True),
    "gated-silu": (Activation.SILU, True),
    "siglu": (Activation.SILU, True),
}


@dataclass(frozen=True, slots=True)
class Description:
    """A checkpoint as its config.ini describes it, before its files are examined.

    `decoder_type` is the data type of the decoder's files and the head's, `encoder_type` that of all others. `ways` is
    0 if only the file names show it. Files whose names begin with one of `unread` belong to the format but are ignored.
    """

    spec: Transformer
    table: Table
    encoder_type: str = "fp32"
    decoder_type: str = "fp32"
    ways: int = 0
    unread: tuple[str, ...] = ()

    def data_type(self, name: str) -> str:
        """Return the data type of the files of the canonical array `name`."""
        return self.decoder_type if name.startswith(("decoder.", "head.")) else self.encoder_type


def activation(section: Section, key: str, default: str) -> tuple[Activation, bool]:
    """Return the activation that `key` names, and whether it is gated."""
    name = section.text(key, default=default).lower()
    if name not in ACTIVATIONS:
        section.problem(f"{key} is '{name}', expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS.get(name, ACTIVATIONS[default])


def activation_name(kind: Activation, *, gated: bool) -> str:
    """Return the original's name of an activation."""
    given = Activation.GELU_TANH if kind is Activation.GELU else kind
    return next(name for name, meaning in ACTIVATIONS.items() if meaning == (given, gated))


def prompts(ini: Ini, section: Section, *, start: int) -> tuple[tuple[tuple[str, int], ...], int]:
    """Return the stored prompt tables (task name, rows) and the first id of a virtual token (default: `start`)."""
    first = section.integer("prompt_learning_start_id", default=start, low=0)
    kind = section.integer("prompt_learning_type", default=0, low=0, high=P_TUNING)
    count = section.integer("num_tasks", default=0, low=0, high=MOST_TASKS)
    if kind == _PREFIX and count:
        raise refused(ini.source, "prefix prompts (prompt_learning_type 2)")
    tasks = []
    for index in range(count):
        task = ini.section(f"task_{index}")
        name = task.text("task_name")
        if not _TASK_NAME.fullmatch(name):
            task.problem(f"task_name is '{name}', expected a name without slashes")
        tasks.append((name, task.integer("prompt_length")))
    if len(dict(tasks)) != len(tasks):
        section.problem("two tasks have the same name")
    return (tuple(tasks) if kind == P_TUNING else ()), first


def prompt_sections(spec: Transformer) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """Return the entries of the first section, and the task sections, for a model's prompt tables."""
    if not spec.prompts:
        return {}, {}
    keys: dict[str, object] = {
        "num_tasks": len(spec.prompts),
        "prompt_learning_start_id": spec.prompt_start_id,
        "prompt_learning_type": P_TUNING,
    }
    tasks: dict[str, dict[str, object]] = {
        f"task_{index}": {"task_name": name, "prompt_length": rows} for index, (name, rows) in enumerate(spec.prompts)
    }
    return keys, tasks


def refused(source: str, what: str) -> SlipwayError:
    """Return the error for a model that needs a feature that our transformer lacks."""
    return unsupported(f"'{source}' needs {what}, which is not supported")
