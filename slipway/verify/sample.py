"""The request that verifies a model: its own warm-up sample, or a sample generated from its signature.

Pure, except for reading the files that a warm-up sample names.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from slipway.core.bytes_codec import decode_bytes
from slipway.datatypes import BY_CONFIG_NAME, DataType
from slipway.errors import invalid

VARIABLE: Final = 8  # the size used for a dimension of -1
_SENTENCE: Final = b"The ship left the slipway and took to the water."
# Integer inputs whose name contains one of these count or select something: zero would mean "nothing".
_ONES: Final = ("mask", "len", "count", "num", "size")


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
    for warmup in config.model_warmup:
        if directory is not None or not any(each.input_data_file for each in warmup.inputs.values()):
            return _warmup(config, warmup, directory)
    rows = 1 if config.max_batch_size > 0 else None
    inputs = [_example(each, rows) for each in config.input if not each.optional]
    return Sample("example", tuple(inputs), rows)


def _example(declared: Any, rows: int | None) -> Input:
    datatype = _datatype(declared.data_type, declared.name)
    shape = _shape([size if size > 0 else VARIABLE for size in declared.dims], rows)
    return Input(declared.name, datatype.name, _fill(datatype, shape, declared.name))


def _fill(datatype: DataType, shape: tuple[int, ...], name: str) -> np.ndarray:
    if datatype.name == "BYTES":
        return np.full(shape, _SENTENCE, dtype=np.object_)
    if datatype.numpy.kind in "iu" and not any(word in name.lower() for word in _ONES):
        return np.zeros(shape, dtype=datatype.numpy)  # the one id that every vocabulary has
    return np.ones(shape, dtype=datatype.numpy)


# Warm-up samples (config field `model_warmup`)


def _warmup(config: pb.ModelConfig, warmup: pb.ModelWarmup, directory: Path | None) -> Sample:
    rows = 1 if config.max_batch_size > 0 else None  # a sample describes one row, however many it is run with
    inputs = [_warmup_input(name, warmup.inputs[name], rows, directory) for name in sorted(warmup.inputs)]
    return Sample(f"warm-up sample '{warmup.name}'", tuple(inputs), rows)


def _warmup_input(name: str, source: Any, rows: int | None, directory: Path | None) -> Input:
    datatype = _datatype(source.data_type, name)
    shape = _shape(source.dims, rows)
    kind = source.WhichOneof("input_data_type")
    if kind == "input_data_file" and directory is not None:
        raw = (directory / "warmup" / source.input_data_file).read_bytes()
        return Input(name, datatype.name, _decode(raw, datatype, shape, source.input_data_file))
    if kind == "random_data":
        return Input(name, datatype.name, _random(datatype, shape))
    if datatype.name == "BYTES":
        return Input(name, datatype.name, np.full(shape, b"", dtype=np.object_))
    return Input(name, datatype.name, np.zeros(shape, datatype.numpy))


def _decode(raw: bytes, datatype: DataType, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        if datatype.name == "BYTES":
            array = np.array(decode_bytes(raw), dtype=np.object_)
        else:
            array = np.frombuffer(raw, datatype.numpy)[: prod(shape)]  # a file may hold more rows
        return array.reshape(shape)
    except ValueError as error:
        raise invalid(f"warm-up file '{name}' does not contain {datatype.name} {list(shape)}: {error}") from None


def _random(datatype: DataType, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)
    if datatype.name == "BYTES":
        return np.full(shape, generator.bytes(8).hex().encode(), dtype=np.object_)
    if datatype.numpy.kind in "iub":
        return generator.integers(0, 2, size=shape).astype(datatype.numpy)
    return generator.random(size=shape).astype(datatype.numpy)


def _shape(dims: Any, rows: int | None) -> tuple[int, ...]:
    return tuple(dims) if rows is None else (rows, *dims)


def _datatype(data_type: Any, name: str) -> DataType:
    config_name = pb.DataType.Name(data_type)
    if config_name not in BY_CONFIG_NAME:
        raise invalid(f"input '{name}' has no data_type in the configuration")
    return BY_CONFIG_NAME[config_name]
