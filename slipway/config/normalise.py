"""Write Triton's defaults into a configuration, so that what is shown is what runs.

Source: Triton core, `src/model_config_utils.cc` (NormalizeModelConfig), compared field by field with the real server.
Two differences are deliberate: KIND_GPU is kept on a machine without a GPU, where the instances run on the CPU
(`instances/plan.py`); and an onnxruntime model without a count gets one instance instead of Triton's two, which would
halve the threads of a request.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Final

from tritonclient.grpc import model_config_pb2

SEQUENCE_IDLE_US: Final = 1_000_000


def normalise(config: model_config_pb2.ModelConfig) -> None:
    """Set the fields of `config` that are not given to their defaults."""
    if not config.HasField("version_policy"):
        config.version_policy.latest.num_versions = 1
    _normalise_scheduling(config)
    if config.WhichOneof("scheduling_choice") == "ensemble_scheduling":
        config.model_transaction_policy.SetInParent()
        return
    for field in ("input_pinned_memory", "output_pinned_memory"):
        if not config.optimization.HasField(field):
            getattr(config.optimization, field).enable = True
    _normalise_instances(config)


def _normalise_scheduling(config: model_config_pb2.ModelConfig) -> None:
    choice = config.WhichOneof("scheduling_choice")
    if choice == "dynamic_batching":
        _default_preferred_size(config, config.dynamic_batching.preferred_batch_size)
    elif choice == "sequence_batching":
        sequence = config.sequence_batching
        if sequence.max_sequence_idle_microseconds == 0:
            sequence.max_sequence_idle_microseconds = SEQUENCE_IDLE_US
        if sequence.WhichOneof("strategy_choice") == "oldest":
            _default_preferred_size(config, sequence.oldest.preferred_batch_size)


def _default_preferred_size(config: model_config_pb2.ModelConfig, sizes: MutableSequence[int]) -> None:
    if config.max_batch_size > 0 and not sizes:
        sizes.append(config.max_batch_size)


def _normalise_instances(config: model_config_pb2.ModelConfig) -> None:
    kinds = model_config_pb2.ModelInstanceGroup
    if not config.instance_group:
        config.instance_group.add(name=config.name)
    for index, group in enumerate(config.instance_group):
        if not group.name:
            group.name = f"{config.name}_{index}"
        if group.kind == kinds.KIND_AUTO:
            group.kind = kinds.KIND_CPU
        if group.count <= 0:
            group.count = 1
