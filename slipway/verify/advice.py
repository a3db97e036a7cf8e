"""What to do about a failure: a table from its cause to what usually helps. Pure.

A failure of this process is known by its rule (`Problem`) or by what `verify` itself found (`Fault`). Of a failure in
another server only the text comes over the wire, and libraries and models have words of their own: for those alone a
row has a pattern, over texts of Triton's protocol and of libraries, or over a constant shared with the place that
writes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from slipway.backends.python.errors import PROCESS_ENDED
from slipway.backends.registry import BUILT_IN, NEEDS_PACKAGE
from slipway.backends.shared.files import DAMAGED
from slipway.problems import Problem, Rule


class Cause(Enum):
    """What `verify` itself finds, with a server or with an answer."""

    UNREACHABLE = auto()  # no server answers
    UNKNOWN_MODEL = auto()  # the server has no such model
    SILENT = auto()  # the request ended without an answer, or without one of its outputs
    DATATYPE = auto()  # an output of another datatype than declared
    SHAPE = auto()  # an output of another shape than declared
    NOT_FINITE = auto()  # NaN or infinity
    TIMED_OUT = auto()  # no answer within the time allowed


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that `verify` found; `str` of it is what a person reads."""

    cause: Cause
    text: str

    def __str__(self) -> str:
        return self.text


Known = Problem | Fault


@dataclass(frozen=True, slots=True)
class Advice:
    """What helps against `causes`, and against errors of other programs that `pattern` is found in. `{0}` is the
    problem's subject, or what the first group of the pattern holds."""

    text: str
    causes: frozenset[Rule | Cause] = frozenset()
    pattern: re.Pattern[str] | None = None

    def by_cause(self, known: Sequence[Known]) -> str:
        """Return the text for the first cause that is one of these, "" where none is."""
        for each in known:
            if isinstance(each, Fault):
                found, subject = each.cause in self.causes, ""
            else:
                found, subject = each.rule in self.causes, each.subject
            if found and (subject or "{0}" not in self.text):
                return self.text.format(subject)
        return ""

    def by_text(self, reason: str) -> str:
        """Return the text for an error that says `reason`, "" where its pattern is not found there."""
        found = self.pattern.search(reason) if self.pattern else None
        return self.text.format(*found.groups()) if found else ""


def _row(text: str, *causes: Rule | Cause, pattern: str = "") -> Advice:
    return Advice(text, frozenset(causes), re.compile(pattern, re.IGNORECASE) if pattern else None)


_CONFIG: Final = "config.pbtxt is not right: `slipway check REPOSITORY` shows the line and the fix."
# Rules whose text goes on in the words of a library or of the model's own code.
_IN_OTHER_WORDS: Final = frozenset(
    {Rule.GRAPH_UNREADABLE, Rule.COMPLETION_FAILED, Rule.BACKEND_NOT_INSTALLED, Rule.CONFIG_INVALID}
)

# The first row that fits is taken: causes stand before their consequences.
TABLE: Final = (
    _row(
        "A model that the ensemble is made of does not serve: mend that one first, it has its own line. A name that "
        "is in no repository is a spelling mistake in ensemble_scheduling, or a second --model-repository.",
        Rule.STEP_MODEL_MISSING,
        pattern=r"ensemble .*(?:depends on|contains models that are not available)",
    ),
    _row(
        "Start the server with `slipway serve REPOSITORY`, and give --url its gRPC address: the log line 'Started "
        "GRPCInferenceService at' has it (8000 is HTTP). A server in a container or on another machine listens to "
        "others with --grpc-address 0.0.0.0. An address in use belongs to another server: --grpc-port 0 takes a "
        "free one.",
        Cause.UNREACHABLE,
        pattern=r"failed to connect|connection refused|address already in use|failed to bind",
    ),
    _row(
        "TensorRT engines run on the kind of NVIDIA GPU that they were built for, with the package `tensorrt`. Here, "
        "serve the ONNX model of the same network, or make a fast one for this processor: `slipway convert MODEL "
        "--engine openvino`.",
        Rule.GPU_ON_CPU_HOST,
        pattern=r"tensorrt|nvinfer|\.plan\b",
    ),
    _row(
        "The model was made for a GPU: load it with map_location='cpu' in model.py, or export it again on the CPU.",
        pattern=r"cuda|no nvidia|gpu",
    ),
    _row(
        "The backend's library '{0}' is missing in the environment that runs the server: the command above installs "
        "it.",
        Rule.BACKEND_NOT_INSTALLED,
        pattern=rf"{NEEDS_PACKAGE} '([^']+)'",
    ),
    _row(
        "model.py imports '{0}', which the server's environment has not: `pip install {0}` there (the distribution "
        "may have another name).",
        pattern=r"no module named '([^'.]+)",
    ),
    _row(
        "The `backend` or `platform` of config.pbtxt is misspelt or not offered; Slipway's own are "
        f"{', '.join(BUILT_IN)}, and the platform ensemble.",
        Rule.BACKEND_UNKNOWN,
        pattern=r"unable to find backend library for backend",
    ),
    _row(
        "The memory is used up: lower instance_group count and max_batch_size, load fewer models "
        "(--model-control-mode=explicit --load-model=NAME), or convert to int8, which is a quarter of the size.",
        pattern=r"out of memory|bad_alloc|failed to allocate|cannot allocate|memoryerror",
    ),
    _row(
        "The process of the Python model died: the server's log has its last words. A killed process (exit code -9) "
        "ran out of memory.",
        pattern=rf"{PROCESS_ENDED}|process '.*' is not healthy|stub process",
    ),
    _row(
        "There is no model of that name: look at the names with `slipway verify` without --model, or load it first "
        "(--load-model=NAME, or POST /v2/repository/models/NAME/load) where the server loads what it is told to.",
        Cause.UNKNOWN_MODEL,
    ),
    _row(
        "The model file is broken or was not copied whole (a Git LFS pointer of some 130 bytes is a usual one): export "
        "or copy it again.",
        pattern=r"no graph was found|protobuf parsing failed|load model from .* failed|unexpected end|truncated",
    ),
    _row(
        "A `parameters` entry of config.pbtxt has a value that the backend cannot use: correct it or take it out.",
        Rule.PARAMETER_INVALID,
        Rule.LENGTH_BATCHING,
        pattern=r"parameter '[^']+'",
    ),
    _row(
        "A file is missing: it belongs into REPOSITORY/MODEL/VERSION/, such as m/1/model.onnx; another name needs "
        "default_model_filename in config.pbtxt. Weights of an ONNX model may lie beside it in files of their own, "
        "which have to come along.",
        Rule.FILE_MISSING,
        pattern=r"unable to find '|no such file|does not exist|nosuchfile",
    ),
    _row(
        "The model has no version directory that its version_policy picks: there must be REPOSITORY/MODEL/1 or "
        "another number.",
        Rule.VERSION_MISSING,
        pattern=r"version must be available|version policy",
    ),
    _row(
        "config.pbtxt and the model disagree on a datatype: `slipway config create MODEL_FILE` writes the one that "
        "the file has; take its data_type over.",
        Rule.DATATYPE_NOT_GRAPH,
        Cause.DATATYPE,
        pattern=r"expects datatype|data[- _]?type|unexpected input data",
    ),
    _row(
        "An ensemble takes no more rows than the smallest of its models: `slipway check REPOSITORY --fix` writes that "
        "number.",
        Rule.ENSEMBLE_BATCH_SIZE,
        pattern=r"ensemble .* allows maximum batch size .* only allows",
    ),
    _row(
        "The batch axis: with max_batch_size above 0, dims leave the first dimension out and the model must take any "
        "size there; a model with a fixed first dimension has max_batch_size: 0 and whole shapes in dims.",
        Rule.BATCH_AXIS_FIXED,
        pattern=r"batch[- _]size|max_batch|support batching|first dimension must be",
    ),
    _row(
        "NaN comes from weights that were not loaded, from FP16 overflow (convert with --precision fp32 or bf16), or "
        "from an example that means nothing to the model: a model_warmup sample in config.pbtxt is sent instead.",
        Cause.NOT_FINITE,
    ),
    _row(
        "The example's numbers are no ids that the model has: put a real request into model_warmup of config.pbtxt, "
        "which is then sent instead.",
        pattern=r"out of (?:data )?bounds|index.*out of range|indexerror",
    ),
    _row(
        "The model did not answer in time: it may be waiting for another model, or be slow at its first request; "
        "--timeout gives it longer.",
        Cause.TIMED_OUT,
        pattern=r"deadline|timed out|timeout",
    ),
    _row(
        "config.pbtxt and the model disagree on a shape: `slipway config create MODEL_FILE` writes those that the "
        "file has, with -1 for sizes that vary.",
        Rule.DIMS_NOT_GRAPH,
        Cause.SHAPE,
        pattern=r"dimension|shape|dims",
    ),
    _row(_CONFIG, pattern=r"config\.pbtxt|must specify|\bexpected\b"),
    _row(
        "The model's own code failed on the example: the server's log has the traceback. If the example means nothing "
        "to the model, put a real request into model_warmup of config.pbtxt.",
        pattern=r"traceback|error:|exception",
    ),
)
_ELSE: Final = (
    "`slipway check REPOSITORY` looks for mistakes in files and configuration; a model that wants a particular input "
    "gets it from model_warmup in config.pbtxt."
)


def advise(reason: str, known: Sequence[Known] = ()) -> str:
    """Return what usually helps against a failure whose causes are `known`, or that says `reason` in other words."""
    for row in TABLE:
        if text := row.by_cause(known):
            return text
    if any(isinstance(each, Fault) for each in known):
        return _ELSE
    remedies = [each.fix for each in known if isinstance(each, Problem) and each.rule is Rule.GRAPH_UNREADABLE]
    if remedies and remedies[0] not in ("", DAMAGED):
        return f"{remedies[0][0].upper()}{remedies[0][1:]}."
    if any(each.rule not in _IN_OTHER_WORDS for each in known if isinstance(each, Problem)):
        return _CONFIG
    return next(filter(None, (row.by_text(reason) for row in TABLE)), _ELSE)
