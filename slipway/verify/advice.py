"""What to do about a failure: a table from what errors say to what usually helps. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slipway.backends.registry import BUILT_IN
from slipway.installation import torch_hint


@dataclass(frozen=True, slots=True)
class Advice:
    """Text for errors that `pattern` is found in; `{0}` is what its first group holds."""

    pattern: re.Pattern[str]
    text: str


def _row(pattern: str, text: str) -> Advice:
    return Advice(re.compile(pattern, re.IGNORECASE), text)


# The first row that fits is taken: causes stand before their consequences.
TABLE: Final = (
    _row(
        r"ensemble .*(?:depends on|contains models that are not available)",
        "A model that the ensemble is made of does not serve: mend that one first, it has its own line. A name that "
        "is in no repository is a spelling mistake in ensemble_scheduling, or a second --model-repository.",
    ),
    _row(
        r"config\.pbtxt:\d+",
        "config.pbtxt is not right: `slipway check REPOSITORY` shows the line and the fix.",
    ),
    _row(
        r"no server answers|failed to connect|connection refused|address already in use|failed to bind",
        "Start the server with `slipway serve REPOSITORY`, and give --url its gRPC address: the log line 'Started "
        "GRPCInferenceService at' has it (8000 is HTTP). A server in a container or on another machine listens to "
        "others with --grpc-address 0.0.0.0. An address in use belongs to another server: --grpc-port 0 takes a "
        "free one.",
    ),
    _row(
        r"tensorrt|nvinfer|\.plan\b",
        "TensorRT engines run on the kind of NVIDIA GPU that they were built for, with the package `tensorrt`. Here, "
        "serve the ONNX model of the same network, or make a fast one for this processor: `slipway convert MODEL "
        "--engine openvino`.",
    ),
    _row(
        r"cuda|no nvidia|gpu",
        "The model was made for a GPU: load it with map_location='cpu' in model.py, or export it again on the CPU.",
    ),
    _row(
        r"needs the package '([^']+)'",
        "The backend's library '{0}' is missing in the environment that runs the server: the command above installs "
        "it.",
    ),
    _row(
        r"no module named 'torch['.]",
        f"model.py imports torch, which the server's environment lacks: `{torch_hint()}` there.",
    ),
    _row(
        r"no module named '([^'.]+)",
        "model.py imports '{0}', which the server's environment has not: `pip install {0}` there (the distribution "
        "may have another name).",
    ),
    _row(
        r"unable to find backend library for backend",
        "The `backend` or `platform` of config.pbtxt is misspelt or not offered; Slipway's own are "
        f"{', '.join(BUILT_IN)}, and the platform ensemble.",
    ),
    _row(
        r"out of memory|bad_alloc|failed to allocate|cannot allocate|memoryerror",
        "The memory is used up: lower instance_group count and max_batch_size, load fewer models "
        "(--model-control-mode=explicit --load-model=NAME), or convert to int8, which is a quarter of the size.",
    ),
    _row(
        r"process (?:of the model )?ended|process '.*' is not healthy|stub process",
        "The process of the Python model died: the server's log has its last words. A killed process (exit code -9) "
        "ran out of memory.",
    ),
    _row(
        r"not found in any model repository|has no such model",
        "There is no model of that name: look at the names with `slipway verify` without --model, or load it first "
        "(--load-model=NAME, or POST /v2/repository/models/NAME/load) where the server loads what it is told to.",
    ),
    _row(
        r"no graph was found|protobuf parsing failed|load model from .* failed|unexpected end|truncated",
        "The model file is broken or was not copied whole (a Git LFS pointer of some 130 bytes is a usual one): export "
        "or copy it again.",
    ),
    _row(
        r"parameter '[^']+'|EXECUTION_MODE",
        "A `parameters` entry of config.pbtxt has a value that the backend cannot use: correct it or take it out.",
    ),
    _row(
        r"unable to find '|no such file|does not exist|nosuchfile",
        "A file is missing: it belongs into REPOSITORY/MODEL/VERSION/, such as m/1/model.onnx; another name needs "
        "default_model_filename in config.pbtxt. Weights of an ONNX model may lie beside it in files of their own, "
        "which have to come along.",
    ),
    _row(
        r"is at no version|no version|version must be available|version policy",
        "The model has no version directory that its version_policy picks: there must be REPOSITORY/MODEL/1 or "
        "another number.",
    ),
    _row(
        r"expects datatype|data[- _]?type|unexpected input data|is declared as .*, and answered as [A-Z]",
        "config.pbtxt and the model disagree on a datatype: `slipway config create MODEL_FILE` writes the one that "
        "the file has; take its data_type over.",
    ),
    _row(
        r"ensemble .* allows maximum batch size .* only allows",
        "An ensemble takes no more rows than the smallest of its models: `slipway check REPOSITORY --fix` writes that "
        "number.",
    ),
    _row(
        r"batch[- _]size|max_batch|support batching|first dimension must be",
        "The batch axis: with max_batch_size above 0, dims leave the first dimension out and the model must take any "
        "size there; a model with a fixed first dimension has max_batch_size: 0 and whole shapes in dims.",
    ),
    _row(
        r"holds nan or infinity",
        "NaN comes from weights that were not loaded, from FP16 overflow (convert with --precision fp32 or bf16), or "
        "from an example that means nothing to the model: a model_warmup sample in config.pbtxt is sent instead.",
    ),
    _row(
        r"out of (?:data )?bounds|index.*out of range|indexerror",
        "The example's numbers are no ids that the model has: put a real request into model_warmup of config.pbtxt, "
        "which is then sent instead.",
    ),
    _row(
        r"deadline|timed out|timeout",
        "The model did not answer in time: it may be waiting for another model, or be slow at its first request; "
        "--timeout gives it longer.",
    ),
    _row(
        r"dimension|shape|dims|is declared as",
        "config.pbtxt and the model disagree on a shape: `slipway config create MODEL_FILE` writes those that the "
        "file has, with -1 for sizes that vary.",
    ),
    _row(
        r"config\.pbtxt|must specify|\bexpected\b",
        "config.pbtxt is not right: `slipway check REPOSITORY` shows the line and the fix.",
    ),
    _row(
        r"traceback|error:|exception",
        "The model's own code failed on the example: the server's log has the traceback. If the example means nothing "
        "to the model, put a real request into model_warmup of config.pbtxt.",
    ),
)
_ELSE: Final = (
    "`slipway check REPOSITORY` looks for mistakes in files and configuration; a model that wants a particular input "
    "gets it from model_warmup in config.pbtxt."
)


def advise(reason: str) -> str:
    """Return what usually helps against an error that says `reason`."""
    for row in TABLE:
        found = row.pattern.search(reason)
        if found:
            return row.text.format(*found.groups())
    return _ELSE
