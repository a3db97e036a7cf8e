"""Read `allow_ragged_batch`, `batch_input` and `batch_output` from config.pbtxt.

Looks only at one configuration. `config/validate_tensors.py` checks it, `backends/shared/batch_tensor_check.py`
compares it with a graph.
"""

from __future__ import annotations

from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2

from slipway.core.ragged import BatchInput, RaggedBatch
from slipway.datatypes import BY_CONFIG_NAME


def ragged_batch(config: model_config_pb2.ModelConfig) -> RaggedBatch:
    """Return the tensors of a valid `config` that depend on the requests of a batch."""
    return RaggedBatch(
        frozenset(declared.name for declared in config.input if declared.allow_ragged_batch),
        tuple(_batch_inputs(config)),
        {target: row.source_input[0] for row in config.batch_output for target in row.target_name},
    )


def _batch_inputs(config: model_config_pb2.ModelConfig) -> Iterator[BatchInput]:
    for row in config.batch_input:
        yield BatchInput(
            model_config_pb2.BatchInput.Kind.Name(row.kind),
            tuple(row.target_name),
            BY_CONFIG_NAME[model_config_pb2.DataType.Name(row.data_type)].name,
            row.source_input[0],
        )


def batch_input_names(config: model_config_pb2.ModelConfig) -> list[str]:
    """Return the names of the inputs that the server adds to a batch."""
    return [target for row in config.batch_input for target in row.target_name]


def has_ragged_batches(config: model_config_pb2.ModelConfig) -> bool:
    """Return whether any tensor depends on the requests of a batch; `config` need not be valid."""
    return bool(config.batch_input or config.batch_output or any(each.allow_ragged_batch for each in config.input))
