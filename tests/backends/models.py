"""Model versions on disk, their contexts and requests, made in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, Executor, InstanceSpec, LoadedModel, ModelContext
from slipway.config.ragged import ragged_batch
from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor


class Host:
    """The part of backends.api.Host that backends without BLS use."""

    def __init__(self):
        self.metrics = MetricRegistry()


def parse(text: str) -> model_config_pb2.ModelConfig:
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    config.name = config.name or "m"
    return config


def completion(directory: Path, default_max_batch_size: int = 4, **settings: str) -> CompletionContext:
    return CompletionContext(directory, directory / "1", default_max_batch_size, settings)


def context(directory: Path, text: str, *, threads: int = 1, **settings: str) -> ModelContext:
    config = parse(text)
    settings = {key.replace("_", "-") if key.startswith("enable") else key: value for key, value in settings.items()}
    return ModelContext(
        config.name, 1, directory, directory / "1", config, signature_of(config), settings, threads, Host()
    )


def signature_of(config: model_config_pb2.ModelConfig) -> ModelSignature:
    inputs = {
        declared.name: _spec(declared, optional=declared.optional, ragged=declared.allow_ragged_batch)
        for declared in config.input
    }
    outputs = {declared.name: _spec(declared) for declared in config.output}
    required = frozenset(name for name, spec in inputs.items() if not spec.optional)
    return ModelSignature(
        config.name,
        config.max_batch_size,
        inputs,
        outputs,
        required_inputs=required,
        ragged=ragged_batch(config),
    )


def _spec(declared, *, optional: bool = False, ragged: bool = False) -> TensorSpec:
    name = model_config_pb2.DataType.Name(declared.data_type).removeprefix("TYPE_")
    reshape = tuple(declared.reshape.shape) if declared.HasField("reshape") else None
    datatype = "BYTES" if name == "STRING" else name
    return TensorSpec(declared.name, datatype, tuple(declared.dims), reshape, optional, ragged)


def open_instance(model: LoadedModel, index: int = 0) -> Executor:
    return model.open(InstanceSpec(f"m_0_{index}", index, "CPU"))


def pending(inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...] = (), rows: int = 1) -> Pending:
    tensors = {name: Tensor.from_array(name, array) for name, array in inputs.items()}
    request = InferRequest("m", id="r", inputs=tensors, outputs=outputs)
    return Pending(request, rows, 0, loop=None, callback=ignore)


def ignore(_response: InferResponse) -> None:
    """Take an answer that a test reads from the execution instead."""


def infer(executor: Executor, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    rows = next((array.shape[0] for array in inputs.values() if array.ndim), 1)
    return arrays(executor.execute([pending(inputs, outputs, rows)]).responses[0])


def arrays(response: InferResponse) -> dict[str, np.ndarray]:
    assert response.error is None, response.error
    return {tensor.name: tensor.array for tensor in response.outputs}
