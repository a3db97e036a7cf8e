"""Find all problems of one completed and normalised configuration at once, in Triton's words.

The texts are those of NVIDIA's tritonserver 2.51. Stricter than Triton where a model would only fail, or exhaust the
machine, later: duplicate names, files outside the model's directory, absurd counts, unknown enum values. Whether an
ensemble fits its models is checked in `validate_ensemble.py`; nothing here looks at another model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2

from slipway.config.agents import agent_problems, leaves_directory
from slipway.config.complete import ENSEMBLE
from slipway.config.model_metrics import bucket_problems
from slipway.config.padding import padding_problems
from slipway.config.prepared import prepared_problems
from slipway.config.purpose import purpose_problems
from slipway.config.validate_ensemble import PLATFORM_FIX, composition_problems
from slipway.config.validate_scheduling import dynamic_problems, instance_problems
from slipway.config.validate_sequence import sequence_problems
from slipway.config.validate_tensors import MAX_DIMS, batch_problems, tensor_problems
from slipway.config.walk import parts
from slipway.problems import FieldPath, Named, Problem, Rule

MAX_VERSIONS: Final = 1024  # listed in a version policy
MAX_WARMUP_ELEMENTS: Final = 1 << 28  # in one tensor, allocated before the model runs


def validate(config: model_config_pb2.ModelConfig, model_directory: Path) -> list[Problem]:
    """Return the problems of `config`, none if it can be served; looks only at file names, not into files."""
    unknown = list(_unknown_enums(config, (), config.name))
    if unknown:  # the other checks look up the names of enum values
        return unknown
    return [
        *_batch_size_problems(config),
        *tensor_problems(config),
        *batch_problems(config),
        *_scheduler_problems(config),
        *padding_problems(config),
        *prepared_problems(config),
        *purpose_problems(config),
        *cache_problems(config),
        *bucket_problems(config),
        *_version_problems(config),
        *agent_problems(config),
        *_file_problems(config, model_directory),
        *_warmup_problems(config),
    ]


def _unknown_enums(message: Message, path: FieldPath, name: str) -> Iterator[Problem]:
    """Yield enum fields whose number has no name, which proto3 accepts."""
    field: Any  # protobuf has two descriptor classes; only one has types
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for steps, part in parts(field, value):
                yield from _unknown_enums(part, (*path, field.name, *steps), name)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            numbers = value if field.is_repeated else [value]
            for number in numbers:
                if number not in field.enum_type.values_by_number:
                    text = f"field '{field.name}' has the unknown value {number} for {name}"
                    fix = "use the name of a value, such as TYPE_FP32 or KIND_CPU"
                    yield Problem(Rule.UNKNOWN_VALUE, text, (*path, field.name), fix)


def _batch_size_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    if config.max_batch_size < 0:
        text = f"'max_batch_size' must be non-negative value for {config.name}"
        yield Problem(Rule.MAX_BATCH_SIZE_NEGATIVE, text, ("max_batch_size",), "set max_batch_size to 0 or more")


def _scheduler_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    name = config.name
    choice = config.WhichOneof("scheduling_choice")
    if choice == "ensemble_scheduling":
        yield from composition_problems(config)
        return
    if config.platform == ENSEMBLE:
        text = f"ensemble scheduling must be set for ensemble {name} whose platform is ensemble"
        yield Problem(Rule.PLATFORM_BACKEND, text, ("platform",), PLATFORM_FIX)
        return
    if choice == "dynamic_batching":
        yield from dynamic_problems(config)
    elif choice == "sequence_batching":
        yield from sequence_problems(config)
    yield from instance_problems(config)


def cache_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield why the responses of a model with `response_cache` cannot be kept."""
    if not config.response_cache.enable:
        return
    words = []
    if config.HasField("sequence_batching"):
        words.append("sequence batching scheduler")
    if config.model_transaction_policy.decoupled:
        words.append("'decoupled' transaction policy")
    for word in words:
        text = (
            f"Response Cache does not currently support model {config.name} with {word}. Please disable the response "
            f"cache."
        )
        yield Problem(Rule.RESPONSE_CACHE, text, ("response_cache",), "remove response_cache")


def _version_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    count = len(config.version_policy.specific.versions)
    if count > MAX_VERSIONS:
        text = f"version policy must name at most {MAX_VERSIONS} versions, but names {count} for {config.name}"
        yield Problem(Rule.LIMIT_EXCEEDED, text, ("version_policy",), "use the policy all or latest")


def _warmup_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    for sample in config.model_warmup:
        for tensor, source in sample.inputs.items():
            sizes = (sample.batch_size, *source.dims)
            if len(sizes) > MAX_DIMS + 1 or math.prod(max(1, size) for size in sizes) > MAX_WARMUP_ELEMENTS:
                text = (
                    f"warmup sample '{sample.name}' may have at most {MAX_WARMUP_ELEMENTS} elements and {MAX_DIMS} "
                    f"dims in input '{tensor}' for {config.name}"
                )
                yield Problem(
                    Rule.LIMIT_EXCEEDED, text, ("model_warmup", Named(sample.name)), "make the sample smaller"
                )


def _file_problems(config: model_config_pb2.ModelConfig, directory: Path) -> Iterator[Problem]:
    """Yield files outside their directory: a config may come from a client, who could otherwise read any file.

    A model's own file may be a symbolic link, as in the caches of model hubs, so only its name is checked.
    """
    for name in [config.default_model_filename, *config.cc_model_filenames.values()]:
        if leaves_directory(name):
            text = f"model file '{name}' must stay within the version directory for {config.name}"
            yield Problem(Rule.FILE_OUTSIDE, text, ("default_model_filename",), "name a file in the version directory")
    for output in config.output:
        name = output.label_filename
        if leaves_directory(name) or _links_out(directory, name):
            text = (
                f"label file '{name}' of output '{output.name}' must stay within the model directory for {config.name}"
            )
            path = ("output", Named(output.name), "label_filename")
            yield Problem(Rule.FILE_OUTSIDE, text, path, "put the file in the model's directory")
    for state in config.sequence_batching.state:
        for initial in state.initial_state:
            name = initial.data_file
            if leaves_directory(name) or _links_out(directory / "initial_state", name):
                text = (
                    f"initial state file '{name}' of state '{state.input_name}' must stay within the model's "
                    f"initial_state directory for {config.name}"
                )
                yield Problem(Rule.FILE_OUTSIDE, text, (), "put the file in the model's directory")
    for sample in config.model_warmup:
        for tensor, source in sample.inputs.items():
            name = source.input_data_file
            if leaves_directory(name) or _links_out(directory / "warmup", name):
                text = (
                    f"warmup file '{name}' of input '{tensor}' must stay within the model's warmup directory "
                    f"for {config.name}"
                )
                yield Problem(Rule.FILE_OUTSIDE, text, (), "put the file in the model's directory")


def _links_out(directory: Path, name: str) -> bool:
    """Return whether symbolic links lead from `directory` to a file outside it."""
    if not name:
        return False
    try:
        return not (directory / name).resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return True
