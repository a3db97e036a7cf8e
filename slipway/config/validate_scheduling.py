"""Find the problems of dynamic batching and instance groups. Pure; the texts are Triton's.

A GPU group is not a problem on a machine without a GPU: its instances run on the CPU (`instances/plan.py`).
Source: Triton `model_config_utils.cc` (rules), the real server's answers (texts).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.problems import FieldPath, Problem, Rule

MAX_INSTANCES: Final = 1024  # per model; each costs at least a thread or a process

_Group: Final = model_config_pb2.ModelInstanceGroup
_DELAY: Final = model_config_pb2.ModelQueuePolicy.DELAY


def dynamic_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the problems of `dynamic_batching`."""
    name, batching = config.name, config.dynamic_batching
    path = ("dynamic_batching", "preferred_batch_size")
    sizes = list(batching.preferred_batch_size)
    yield from preferred_size_problems(
        "dynamic batching preferred size", sizes, config.max_batch_size, path=path, name=name
    )
    yield from _priority_problems(name, batching)
    if batching.preserve_ordering:
        yield from _ordering_problems(name, batching)


def preferred_size_problems(
    label: str, sizes: Sequence[int], max_batch_size: int, *, path: FieldPath, name: str
) -> Iterator[Problem]:
    """Yield the problems of the preferred batch sizes at `path`, each at the first size that has it."""
    index = next((index for index, size in enumerate(sizes) if size <= 0), None)
    if index is not None:
        text = f"{label} must be positive for {name}"
        yield Problem(Rule.PREFERRED_SIZE_NOT_POSITIVE, text, (*path, index), "remove it")
    index = next((index for index, size in enumerate(sizes) if size > max_batch_size), None)
    if index is not None:
        text = f"{label} must be <= max batch size for {name}"
        yield Problem(Rule.PREFERRED_SIZE_ABOVE_MAX, text, (*path, index), "remove it, or raise max_batch_size")


def _priority_problems(name: str, batching: model_config_pb2.ModelDynamicBatching) -> Iterator[Problem]:
    levels = batching.priority_levels
    if not levels:
        return
    texts = []
    if not 1 <= batching.default_priority_level <= levels:
        texts.append(f"default priority level must be in range [1, {levels}] for {name}")
    if any(not 1 <= level <= levels for level in batching.priority_queue_policy):
        texts.append(f"priority queue policy must have priority level in range [1, {levels}] for {name}")
    path, fix = ("dynamic_batching", "priority_levels"), "use levels from 1 to priority_levels"
    yield from (Problem(Rule.PRIORITY_LEVELS, text, path, fix) for text in texts)


def _ordering_problems(name: str, batching: model_config_pb2.ModelDynamicBatching) -> Iterator[Problem]:
    texts = []
    if batching.priority_levels > 1:
        texts.append(f"Only one priority level is allowed when 'preserve_ordering' is true for {name}")
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(policy.timeout_action == _DELAY and policy.default_timeout_microseconds for policy in policies):
        texts.append(f"Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for {name}")
    path, fix = ("dynamic_batching", "preserve_ordering"), "remove preserve_ordering, or the priority levels and delays"
    yield from (Problem(Rule.PRESERVE_ORDERING, text, path, fix) for text in texts)


def instance_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the problems of the instance groups."""
    for index, group in enumerate(config.instance_group):
        path = ("instance_group", index)
        label = f"instance group {group.name} of model {config.name}"
        kind = _Group.Kind.Name(group.kind)
        if group.gpus and group.kind in (_Group.KIND_CPU, _Group.KIND_MODEL):
            text = f"{label} has kind {kind} but specifies one or more GPUs"
            yield Problem(Rule.INSTANCE_GROUP, text, path, "remove gpus, or set kind: KIND_GPU")
        if min(group.gpus, default=0) < 0:
            text = f"{label} specifies invalid or unsupported gpu id {min(group.gpus)}"
            yield Problem(Rule.INSTANCE_GROUP, text, (*path, "gpus"), "use GPU ids of 0 or more")
        if group.profile:
            platform = f"{config.platform} " if config.platform else ""
            text = f"{label} and platform {platform}specifies profile field which is only supported for TensorRT models"
            yield Problem(Rule.INSTANCE_GROUP, text, (*path, "profile"), "remove profile")
    count = sum(max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group)
    if count > MAX_INSTANCES:
        text = f"at most {MAX_INSTANCES} instances are allowed, but {count} are requested for {config.name}"
        yield Problem(Rule.LIMIT_EXCEEDED, text, ("instance_group",), "request fewer instances")
