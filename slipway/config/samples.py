"""The tensors of a model's warm-up samples (config field `model_warmup`), made as Triton makes them, and tensors made
up from a signature's types and shapes.

Source: `GenerateWarmupData` in Triton's `backend_model_instance.cc`. One difference: Triton fills random numbers with
random bytes, which are rarely valid inputs; here integers are 0 or 1, because they are often token ids, and floats lie
between 0 and 1. Reads files only from the model's `warmup` directory.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.core.tensor import Tensor
from slipway.datatypes import BY_CONFIG_NAME, DataType
from slipway.errors import internal, invalid

_DIRECTORY: Final = "warmup"
_SENTENCE: Final = b"The ship left the slipway and took to the water."
# Integer inputs whose name contains one of these count or select something: zero would mean "nothing".
_ONES: Final = ("mask", "len", "count", "num", "size")


def sample_tensors(
    config: model_config_pb2.ModelConfig, sample: model_config_pb2.ModelWarmup, directory: Path
) -> dict[str, Tensor]:
    """Return one row of a warm-up sample, by input; `directory` is the model's. Raise `SlipwayError` if the sample is
    invalid or one of its files cannot be read."""
    batched = config.max_batch_size > 0
    return {name: _tensor(name, sample, directory, batched=batched) for name in sorted(sample.inputs)}


def likely_values(datatype: DataType, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return values that most models accept as the input `name`: a sentence, ones, or token ids of zero."""
    if datatype.name == "BYTES":
        return np.full(shape, _SENTENCE, dtype=np.object_)
    if datatype.numpy.kind in "iu" and not any(word in name.lower() for word in _ONES):
        return np.zeros(shape, dtype=datatype.numpy)  # the one id that every vocabulary has
    return np.ones(shape, dtype=datatype.numpy)


def _tensor(name: str, sample: model_config_pb2.ModelWarmup, directory: Path, *, batched: bool) -> Tensor:
    source: Any = sample.inputs[name]
    datatype = BY_CONFIG_NAME.get(model_config_pb2.DataType.Name(source.data_type))
    if datatype is None:
        raise invalid(f"warmup setting expects input '{name}' to have a data type in sample '{sample.name}'")
    if any(size < 0 for size in source.dims):
        raise invalid(f"warmup setting expects all variable-size dimensions are specified for input '{name}'")
    shape = (1, *source.dims) if batched else tuple(source.dims)
    kind = source.WhichOneof("input_data_type")
    if kind == "input_data_file":
        raw = _first_row(_read_file(source.input_data_file, directory), datatype, shape, source.input_data_file)
        return Tensor(name, datatype.name, shape, raw=raw)
    if datatype.name == "BYTES":  # random strings are empty too
        return Tensor(name, datatype.name, shape, array=np.full(shape, b"", dtype=np.object_))
    array = _random(datatype, shape) if kind == "random_data" else np.zeros(shape, dtype=datatype.numpy)
    return Tensor(name, datatype.name, shape, array=array)


def _read_file(file_name: str, directory: Path) -> bytes:
    root = (directory / _DIRECTORY).resolve()
    path = (root / file_name).resolve()
    if not path.is_relative_to(root):
        raise invalid(f"warmup file '{file_name}' must stay within the model's '{_DIRECTORY}' directory")
    try:
        return path.read_bytes()
    except OSError as error:
        raise internal(f"failed to read warmup file '{file_name}': {error.strerror}") from error


def _first_row(raw: bytes, datatype: DataType, shape: tuple[int, ...], file_name: str) -> bytes:
    """Return the bytes of one row, as Triton does: a file may contain more numbers than that, but not more strings."""
    if datatype.name == "BYTES":
        return raw
    wanted = prod(shape) * datatype.size
    if len(raw) < wanted:
        raise invalid(
            f"warmup setting expects {wanted} bytes, but the data provided from {file_name} has {len(raw)} bytes"
        )
    return raw[:wanted]


def _random(datatype: DataType, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)  # the same sample at every load
    if datatype.numpy.kind in "iub":
        return generator.integers(0, 2, size=shape).astype(datatype.numpy)
    return generator.random(size=shape).astype(datatype.numpy)
