"""What to do about a failure: a table from causes to what usually helps. Pure.

A failure in this process is known by its rule (`Problem`) or by what `verify` itself found (`Fault`). For a failure in
another server only the text arrives over the wire, and libraries and models use their own words: only for those does a
row have a pattern, which matches texts of Triton's protocol or of libraries, or a constant shared with the code that
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
from slipway.installation import torch_hint
from slipway.problems import Problem, Rule


class Cause(Enum):
    """What `verify` itself finds wrong with a server or a response."""

    UNREACHABLE = auto()  # no server responds
    UNKNOWN_MODEL = auto()  # the server has no such model
    SILENT = auto()  # the request ended without a response, or the response lacks an output
    DATATYPE = auto()  # an output has a datatype other than declared
    SHAPE = auto()  # an output has a shape other than declared
    NOT_FINITE = auto()  # NaN or infinity
    TIMED_OUT = auto()  # no response within the time limit


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that `verify` found wrong; its `str` is the text for the user."""

    cause: Cause
    text: str

    def __str__(self) -> str:
        return self.text


Known = Problem | Fault


@dataclass(frozen=True, slots=True)
class Advice:
    """What helps against `causes`, and against errors of other programs that match `pattern`. `{0}` is the problem's
    subject, or the first group of the pattern."""

    text: str
    causes: frozenset[Rule | Cause] = frozenset()
    pattern: re.Pattern[str] | None = None

    def by_cause(self, known: Sequence[Known]) -> str:
        """Return the text if one of the `known` causes belongs to this row, else ""."""
        for each in known:
            if isinstance(each, Fault):
                found, subject = each.cause in self.causes, ""
            else:
                found, subject = each.rule in self.causes, each.subject
            if found and (subject or "{0}" not in self.text):
                return self.text.format(subject)
        return ""

    def by_text(self, reason: str) -> str:
        """Return the text if the pattern matches `reason`, else ""."""
        found = self.pattern.search(reason) if self.pattern else None
        return self.text.format(*found.groups()) if found else ""


def _row(text: str, *causes: Rule | Cause, pattern: str = "") -> Advice:
    return Advice(text, frozenset(causes), re.compile(pattern, re.IGNORECASE) if pattern else None)


_CONFIG: Final = "config.pbtxt has a mistake: `slipway check REPOSITORY` shows the line and the fix."
# Rules whose text includes the words of a library or of the model's own code.
_IN_OTHER_WORDS: Final = frozenset(
    {Rule.GRAPH_UNREADABLE, Rule.COMPLETION_FAILED, Rule.BACKEND_NOT_INSTALLED, Rule.CONFIG_INVALID}
)

# The first matching row is used, so causes come before their consequences.
TABLE: Final = (
    _row(
        "A model in the ensemble is not ready: fix that one first; it has its own line. If no repository contains the "
        "name, it is misspelt in ensemble_scheduling, or belongs to a second --model-repository.",
        Rule.STEP_MODEL_MISSING,
        pattern=r"ensemble .*(?:depends on|contains models that are not available)",
    ),
    _row(
        "Start the server with `slipway serve REPOSITORY`, and set --url to its gRPC address, which is in the log line "
        "'Started GRPCInferenceService at' (port 8000 is HTTP). A server in a container or on another machine needs "
        "--grpc-address 0.0.0.0 to accept remote clients. If another server uses the address, --grpc-port 0 picks a "
        "free port.",
        Cause.UNREACHABLE,
        pattern=r"failed to connect|connection refused|address already in use|failed to bind",
    ),
    _row(
        "A TensorRT engine runs only on the type of NVIDIA GPU that it was built for, and needs the package "
        "`tensorrt`. On this machine, serve the ONNX model of the same network, or make a fast one for this processor: "
        "`slipway convert MODEL --engine openvino`.",
        Rule.GPU_ON_CPU_HOST,
        pattern=r"tensorrt|nvinfer|\.plan\b",
    ),
    _row(
        "The model was made for a GPU: load it with map_location='cpu' in model.py, or export it again on the CPU.",
        pattern=r"cuda|no nvidia|gpu",
    ),
    _row(
        "The backend's library '{0}' is missing from the environment that runs the server: the command above installs "
        "it.",
        Rule.BACKEND_NOT_INSTALLED,
        pattern=rf"{NEEDS_PACKAGE} '([^']+)'",
    ),
    _row(
        f"model.py imports torch, which is not installed in the server's environment: run `{torch_hint()}` there.",
        pattern=r"no module named 'torch['.]",
    ),
    _row(
        "model.py imports '{0}', which is not installed in the server's environment: run `pip install {0}` there (the "
        "package may have another name).",
        pattern=r"no module named '([^'.]+)",
    ),
    _row(
        "The `backend` or `platform` in config.pbtxt is misspelt or not available; Slipway has the backends "
        f"{', '.join(BUILT_IN)}, and the platform ensemble.",
        Rule.BACKEND_UNKNOWN,
        pattern=r"unable to find backend library for backend",
    ),
    _row(
        "Out of memory: lower instance_group count and max_batch_size, load fewer models "
        "(--model-control-mode=explicit --load-model=NAME), or convert to int8, a quarter of the size.",
        pattern=r"out of memory|bad_alloc|failed to allocate|cannot allocate|memoryerror",
    ),
    _row(
        "The process of the Python model died: the server's log has its last output. A killed process (exit code -9) "
        "ran out of memory.",
        pattern=rf"{PROCESS_ENDED}|process '.*' is not healthy|stub process",
    ),
    _row(
        "There is no model of that name: run `slipway verify` without --model for the names. A server that loads "
        "models on request has to load it first (--load-model=NAME, or POST /v2/repository/models/NAME/load).",
        Cause.UNKNOWN_MODEL,
    ),
    _row(
        "The model file is damaged or incomplete (often a Git LFS pointer of about 130 bytes): export or copy it "
        "again.",
        pattern=r"no graph was found|protobuf parsing failed|load model from .* failed|unexpected end|truncated",
    ),
    _row(
        "A `parameters` entry of config.pbtxt has a value that the backend cannot use: correct or remove it.",
        Rule.PARAMETER_INVALID,
        Rule.LENGTH_BATCHING,
        pattern=r"parameter '[^']+'",
    ),
    _row(
        "A file is missing: it belongs in REPOSITORY/MODEL/VERSION/, for example m/1/model.onnx; a file with another "
        "name needs default_model_filename in config.pbtxt. An ONNX model may keep its weights in separate files, "
        "which must be copied with it.",
        Rule.FILE_MISSING,
        pattern=r"unable to find '|no such file|does not exist|nosuchfile",
    ),
    _row(
        "The model has no version directory that its version_policy selects: create REPOSITORY/MODEL/1, or another "
        "number.",
        Rule.VERSION_MISSING,
        pattern=r"version must be available|version policy",
    ),
    _row(
        "config.pbtxt and the model disagree on a datatype: copy the data_type that `slipway config create MODEL_FILE` "
        "prints.",
        Rule.DATATYPE_NOT_GRAPH,
        Cause.DATATYPE,
        pattern=r"expects datatype|data[- _]?type|unexpected input data",
    ),
    _row(
        "An ensemble cannot take more rows than the smallest of its models: `slipway check REPOSITORY --fix` writes "
        "that number.",
        Rule.ENSEMBLE_BATCH_SIZE,
        pattern=r"ensemble .* allows maximum batch size .* only allows",
    ),
    _row(
        "The batch axis does not fit: with max_batch_size above 0, dims omit the first dimension, and the model must "
        "accept any size there; a model with a fixed first dimension needs max_batch_size: 0 and full shapes in dims.",
        Rule.BATCH_AXIS_FIXED,
        pattern=r"batch[- _]size|max_batch|support batching|first dimension must be",
    ),
    _row(
        "NaN comes from weights that were not loaded, from FP16 overflow (convert with --precision fp32 or bf16), or "
        "from a generated sample that the model cannot handle: a model_warmup sample in config.pbtxt is sent instead.",
        Cause.NOT_FINITE,
    ),
    _row(
        "The generated sample has ids outside the model's vocabulary: put a real request in model_warmup of "
        "config.pbtxt, which is then sent instead.",
        pattern=r"out of (?:data )?bounds|index.*out of range|indexerror",
    ),
    _row(
        "The model did not respond in time: it may be waiting for another model, or its first request may be slow; "
        "--timeout allows more time.",
        Cause.TIMED_OUT,
        pattern=r"deadline|timed out|timeout",
    ),
    _row(
        "config.pbtxt and the model disagree on a shape: copy the dims that `slipway config create MODEL_FILE` prints, "
        "with -1 for variable sizes.",
        Rule.DIMS_NOT_GRAPH,
        Cause.SHAPE,
        pattern=r"dimension|shape|dims",
    ),
    _row(_CONFIG, pattern=r"config\.pbtxt|must specify|\bexpected\b"),
    _row(
        "The model's own code failed on the sample: the server's log has the traceback. If the model cannot handle the "
        "generated sample, put a real request in model_warmup of config.pbtxt.",
        pattern=r"traceback|error:|exception",
    ),
)
_ELSE: Final = (
    "`slipway check REPOSITORY` looks for mistakes in files and configuration; if the model needs a particular input, "
    "put it in model_warmup of config.pbtxt."
)


def advise(reason: str, known: Sequence[Known] = ()) -> str:
    """Return what usually helps against a failure, by its `known` causes, else by the words of `reason`."""
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
