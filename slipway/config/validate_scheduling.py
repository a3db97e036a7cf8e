"""What is wrong with dynamic batching and instance groups. Pure; texts are Triton's.

A group for GPUs is no problem where there is none: its instances run on the CPU (`instances/plan.py`).
Source: Triton `model_config_utils.cc` (rules), the real server's answers (texts).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

MAX_INSTANCES: Final = 1024  # of one model; each costs at least a thread or a process
MAX_PRIORITY_LEVELS: Final = 1024  # each is a queue of its own

_Group: Final = model_config_pb2.ModelInstanceGroup
_DELAY: Final = model_config_pb2.ModelQueuePolicy.DELAY


def dynamic_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    """Yield the problems of `dynamic_batching`."""
    name, batching = config.name, config.dynamic_batching
    if any(size <= 0 for size in batching.preferred_batch_size):
        yield f"dynamic batching preferred size must be positive for {name}"
    if any(size > config.max_batch_size for size in batching.preferred_batch_size):
        yield f"dynamic batching preferred size must be <= max batch size for {name}"
    yield from _priority_problems(name, batching)
    if batching.preserve_ordering:
        yield from _ordering_problems(name, batching)


def _priority_problems(name: str, batching: model_config_pb2.ModelDynamicBatching) -> Iterator[str]:
    levels = batching.priority_levels
    if not levels:
        return
    if levels > MAX_PRIORITY_LEVELS:
        yield f"at most {MAX_PRIORITY_LEVELS} priority levels are allowed, but {levels} are asked for, for {name}"
    if not 1 <= batching.default_priority_level <= levels:
        yield f"default priority level must be in range [1, {levels}] for {name}"
    if any(not 1 <= level <= levels for level in batching.priority_queue_policy):
        yield f"priority queue policy must have priority level in range [1, {levels}] for {name}"


def _ordering_problems(name: str, batching: model_config_pb2.ModelDynamicBatching) -> Iterator[str]:
    if batching.priority_levels > 1:
        yield f"Only one priority level is allowed when 'preserve_ordering' is true for {name}"
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(policy.timeout_action == _DELAY and policy.default_timeout_microseconds for policy in policies):
        yield f"Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for {name}"


def instance_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    """Yield the problems of the instance groups."""
    for group in config.instance_group:
        label = f"instance group {group.name} of model {config.name}"
        kind = _Group.Kind.Name(group.kind)
        if group.gpus and group.kind in (_Group.KIND_CPU, _Group.KIND_MODEL):
            yield f"{label} has kind {kind} but specifies one or more GPUs"
        if min(group.gpus, default=0) < 0:
            yield f"{label} specifies invalid or unsupported gpu id {min(group.gpus)}"
        if group.profile:
            platform = f"{config.platform} " if config.platform else ""
            yield (
                f"{label} and platform {platform}specifies profile field which is only supported for TensorRT models"
            )
    count = sum(max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group)
    if count > MAX_INSTANCES:
        yield f"at most {MAX_INSTANCES} instances are allowed, but {count} are asked for, for {config.name}"
