"""The request that verifies a model: its own warm-up sample, or a sample generated from its signature.

Pure, except for reading the files that a warm-up sample names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from slipway.config.samples import likely_values, sample_tensors
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_CONFIG_NAME, DataType
from slipway.errors import invalid

VARIABLE: Final = 8  # the size used for a dimension of -1


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor to send."""

    name: str
    datatype: str
    array: np.ndarray


@dataclass(frozen=True, slots=True)
class Sample:
    """A request; `rows` is its batch size, None for a model without a batch axis."""

    source: str
    inputs: tuple[Input, ...]
    rows: int | None


def sample_of(config: pb.ModelConfig, directory: Path | None) -> Sample:
    """Return the model's first warm-up sample whose files can be read, else a generated sample.

    `directory` is the model's, None if it is on another machine. Raise INVALID_ARG for an invalid warm-up sample.
    """
    given = _given(config, directory)
    if given is not None:
        return given
    rows = 1 if config.max_batch_size > 0 else None
    inputs = [_example(each, rows) for each in config.input if not each.optional]
    return Sample("example", tuple(inputs), rows)


def ensemble_sample(config: pb.ModelConfig, steps: Mapping[str, tuple[pb.ModelConfig, Path | None]]) -> Sample:
    """Return a sample for an ensemble, which cannot have warm-up samples: those of the models of its steps, by name
    with their directories, for the inputs that they read, and generated ones for its other required inputs."""
    rows = 1 if config.max_batch_size > 0 else None
    found: dict[str, Input] = {}
    for step in config.ensemble_scheduling.step:
        given = _given(*steps[step.model_name]) if step.model_name in steps else None
        for each in given.inputs if given and given.rows == rows else ():
            if each.name in step.input_map:
                found.setdefault(step.input_map[each.name], replace(each, name=step.input_map[each.name]))
    inputs = [
        found.get(each.name) or _example(each, rows) for each in config.input if each.name in found or not each.optional
    ]
    return Sample("warm-up samples of its steps" if found else "example", tuple(inputs), rows)


def _given(config: pb.ModelConfig, directory: Path | None) -> Sample | None:
    """Return the first warm-up sample whose files can be read, None if there is none."""
    for warmup in config.model_warmup:
        if directory is not None or not any(each.input_data_file for each in warmup.inputs.values()):
            return _warmup(config, warmup, directory)
    return None


def _example(declared: Any, rows: int | None) -> Input:
    datatype = _datatype(declared.data_type, declared.name)
    shape = _shape([size if size > 0 else VARIABLE for size in declared.dims], rows)
    return Input(declared.name, datatype.name, likely_values(datatype, shape, declared.name))


# Warm-up samples (config field `model_warmup`)


def _warmup(config: pb.ModelConfig, warmup: pb.ModelWarmup, directory: Path | None) -> Sample:
    rows = 1 if config.max_batch_size > 0 else None  # a sample describes one row, however many it is run with
    tensors = sample_tensors(config, warmup, directory or Path())  # without a directory, the sample names no files
    if config.HasField("sequence_batching"):  # it may have control inputs and states, which clients do not send
        sent = {declared.name for declared in config.input}
        tensors = {name: tensor for name, tensor in tensors.items() if name in sent}
    return Sample(f"warm-up sample '{warmup.name}'", tuple(map(_input, tensors.values())), rows)


def _input(tensor: Tensor) -> Input:
    try:
        return Input(tensor.name, tensor.datatype, tensor.array)
    except ValueError as error:
        what = f"{tensor.datatype} {list(tensor.shape)}"
        raise invalid(f"warm-up file of input '{tensor.name}' does not contain {what}: {error}") from None


def _shape(dims: Any, rows: int | None) -> tuple[int, ...]:
    return tuple(dims) if rows is None else (rows, *dims)


def _datatype(data_type: Any, name: str) -> DataType:
    config_name = pb.DataType.Name(data_type)
    if config_name not in BY_CONFIG_NAME:
        raise invalid(f"input '{name}' has no data_type in the configuration")
    return BY_CONFIG_NAME[config_name]
