"""How many instances of a model run at the same time, for what they share: thread pools, streams."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2


def instance_count(config: model_config_pb2.ModelConfig) -> int:
    """Return the number of instances that answer requests, at least 1."""
    groups = config.instance_group
    counts = [max(int(group.count), 1) for group in groups if not group.passive]
    return sum(counts) or 1
