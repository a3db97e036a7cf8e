"""Run a model's warm-up samples on each of its instances before it becomes ready (config field `model_warmup`).

A sample that cannot be built or that fails to run fails the load: a ready model has computed at least once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.backends.instance_api import Instance, Outcome
from slipway.core.check import check_request
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_CONFIG_NAME, DataType
from slipway.errors import SlipwayError, internal, invalid

_LOG: Final = logging.getLogger("slipway.engine")
_DIRECTORY = "warmup"


async def warm_up(
    config: model_config_pb2.ModelConfig, signature: ModelSignature, directory: Path, instances: Sequence[Instance]
) -> None:
    """Run each sample of `config` on each instance; raise `SlipwayError` for the first that fails.

    A sample describes one row. Its `batch_size` is the number of requests of one row that are executed together.
    """
    for sample in config.model_warmup:
        tensors = await asyncio.to_thread(_read_tensors, sample, signature, directory)
        request = InferRequest(signature.model_name, inputs=tensors)
        rows = check_request(request, signature)
        requests = max(1, sample.batch_size)
        for instance in instances:
            if requests > max(1, signature.max_batch_size):
                limit = f"batch size {requests} for '{instance.name}', max allowed is {signature.max_batch_size}"
                raise invalid(f"failed to run warmup sample '{sample.name}': {limit}")
            _LOG.info("'%s' instance '%s' is running warmup sample '%s'", config.name, instance.name, sample.name)
            for _ in range(max(1, sample.count)):
                await _run(instance, [request] * requests, rows, sample.name)


def _read_tensors(
    sample: model_config_pb2.ModelWarmup, signature: ModelSignature, directory: Path
) -> dict[str, Tensor]:
    return {name: _tensor(name, sample, signature, directory) for name in sample.inputs}


def _tensor(name: str, sample: model_config_pb2.ModelWarmup, signature: ModelSignature, directory: Path) -> Tensor:
    source = sample.inputs[name]
    datatype = BY_CONFIG_NAME.get(model_config_pb2.DataType.Name(source.data_type))
    if datatype is None:
        raise invalid(f"warmup setting expects input '{name}' to have a data type in sample '{sample.name}'")
    if any(size < 0 for size in source.dims):
        raise invalid(f"warmup setting expects all variable-size dimensions are specified for input '{name}'")
    shape = tuple(source.dims)
    if signature.max_batch_size > 0:
        shape = (1, *shape)
    kind = source.WhichOneof("input_data_type")
    if kind == "input_data_file":
        raw = _first_row(_read_file(source.input_data_file, directory), datatype, shape, source.input_data_file)
        return Tensor(name, datatype.name, shape, raw=raw)
    if kind == "random_data":
        return Tensor(name, datatype.name, shape, array=_random(datatype, shape))
    if datatype.name == "BYTES":
        return Tensor(name, datatype.name, shape, array=np.full(shape, b"", dtype=np.object_))
    return Tensor(name, datatype.name, shape, array=np.zeros(shape, dtype=datatype.numpy))


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
    if datatype.name == "BYTES":
        array = np.empty(shape, dtype=np.object_)
        array.ravel()[:] = [generator.bytes(8).hex().encode() for _ in range(array.size)]
        return array
    if datatype.numpy.kind in "iu":
        return generator.integers(0, 2, size=shape).astype(datatype.numpy)  # small, because they are often token ids
    return generator.random(size=shape).astype(datatype.numpy)


async def _run(instance: Instance, requests: Sequence[InferRequest], rows: int, sample: str) -> None:
    loop = asyncio.get_running_loop()
    batch: list[Pending] = []
    ends = [_pending(request, rows, loop, batch) for request in requests]

    def finished(outcome: Outcome) -> None:
        for pending, response in zip(batch, outcome.responses, strict=True):
            if response is not None:
                pending.deliver(response)

    instance.start(batch, finished)
    error = next((error for error in await asyncio.gather(*ends) if error is not None), None)
    if error is not None:
        message = f"failed to run warmup sample '{sample}': {error.message}"
        raise SlipwayError(error.code, message, reason=error.reason)


def _pending(
    request: InferRequest, rows: int, loop: asyncio.AbstractEventLoop, batch: list[Pending]
) -> asyncio.Future[SlipwayError | None]:
    """Append the request to `batch`; return a future of its error, or of None after its final response."""
    done: asyncio.Future[SlipwayError | None] = loop.create_future()

    def deliver(response: InferResponse) -> None:
        if not done.done() and (response.error is not None or response.final):
            done.set_result(response.error)

    batch.append(Pending(request, rows, time.monotonic_ns(), loop, deliver))
    return done
